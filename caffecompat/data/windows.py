"""The `WindowData` layer: windows cut out of pictures and warped to one size, as R-CNN is fine-tuned."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from caffecompat import glog
from caffecompat.data.databases import prefetch_depth
from caffecompat.data.loaded_source import LoadedSource
from caffecompat.data.reader import Columns, Reader
from caffecompat.data.source import DataError, Request, Shape, Source, new_random, register_source
from caffecompat.formats.mean import read_mean
from caffecompat.formats.picture import decode_picture, resize_picture
from caffecompat.formats.window_file import ListedPicture, read_window_file
from caffecompat.paths import look_up, tried, with_slashes
from caffecompat.resumable import State, generator_state, restore_generator

__all__ = ["Region", "WindowReader", "region_of"]


class Region(NamedTuple):
    """What of a picture is cut (corners, both inclusive), its size in the crop, and where it lies there."""

    x1: int
    y1: int
    x2: int
    y2: int
    height: int
    width: int
    top: int
    left: int


def region_of(
    corners: tuple[int, int, int, int],
    picture: tuple[int, int],
    crop: int,
    context_pad: int,
    square: bool,
    mirror: bool,
) -> Region:
    """Where a window (x1, y1, x2, y2) of a picture (height, width) goes in the crop square (window_data_layer.cpp).

    Without context_pad the window itself is warped to the square. With it the window is enlarged such that
    context_pad pixels of surroundings lie on each side after warping; `square` first enlarges the shorter side to the
    longer. What of the enlarged window lies outside the picture stays empty.
    """
    x1, y1, x2, y2 = corners
    if not (context_pad or square):
        return Region(x1, y1, x2, y2, crop, crop, 0, 0)
    # In float32 throughout, because results are rounded to pixels.
    one = np.float32
    enlarge = one(crop) / one(crop - 2 * context_pad)
    half_h, half_w = one((y2 - y1 + 1) / 2), one((x2 - x1 + 1) / 2)
    center_x, center_y = one(x1) + half_w, one(y1) + half_h
    if square:
        half_h = half_w = max(half_h, half_w)
    x1, x2 = _round(center_x - half_w * enlarge), _round(center_x + half_w * enlarge)
    y1, y2 = _round(center_y - half_h * enlarge), _round(center_y + half_h * enlarge)
    scale_x, scale_y = one(crop) / one(x2 - x1 + 1), one(crop) / one(y2 - y1 + 1)
    beyond_x1, beyond_y1 = max(0, -x1), max(0, -y1)
    beyond_x2, beyond_y2 = max(0, x2 - picture[1] + 1), max(0, y2 - picture[0] + 1)
    x1, x2, y1, y2 = x1 + beyond_x1, x2 - beyond_x2, y1 + beyond_y1, y2 - beyond_y2
    left = _round(one(beyond_x2 if mirror else beyond_x1) * scale_x)
    top = _round(one(beyond_y1) * scale_y)
    width = min(_round(one(x2 - x1 + 1) * scale_x), crop - left)
    height = min(_round(one(y2 - y1 + 1) * scale_y), crop - top)
    return Region(x1, y1, x2, y2, height, width, top, left)


def _round(value: np.float32) -> int:
    """C's round: halves away from zero."""
    return int(math.copysign(math.floor(abs(float(value)) + 0.5), value))


class _Record(NamedTuple):
    picture: int
    corners: tuple[int, int, int, int]
    label: int
    mirror: bool


class _Sample(NamedTuple):
    pixels: np.ndarray
    region: Region
    label: int


class WindowReader(Reader):
    """Tops: data (N, C, crop_size, crop_size), label (N), 0 for background.

    Windows that overlap an object by fg_threshold or more are foreground, those below bg_threshold background; each
    batch begins with background and ends with fg_fraction of foreground windows, all drawn at random. What a crop
    lacks of the picture is 0, the mean pixel. The factor is `window_data_param.scale`, as in Caffe, where
    `transform_param.scale` has no effect.
    """

    def __init__(self, request: Request) -> None:
        param, transform = request.layer.window_data_param, request.layer.transform_param
        request.tops(2)
        self._request = request
        self._root, self._scale = with_slashes(param.root_folder), np.float32(param.scale)
        self.batch_size, self._crop = param.batch_size, transform.crop_size
        self._check()
        self._context_pad, self._square = param.context_pad, param.crop_mode == "square"
        self._mirror = transform.mirror
        self._list = request.find("window_data_param.source", param.source)
        self._pictures = read_window_file(self._list)
        self._channels = 3  # pictures are always read in color
        if self._pictures[-1].channels != self._channels:
            raise DataError(
                f"{self._list}: pictures are read in color, not with {self._pictures[-1].channels} channels"
            )
        self._table = np.concatenate([picture.windows for picture in self._pictures])
        self._owner = np.repeat(np.arange(len(self._pictures)), [len(picture.windows) for picture in self._pictures])
        self._threshold = float(np.float32(param.fg_threshold))
        self._kinds = self._sort(param.fg_threshold, param.bg_threshold)
        self._foreground = int(np.float32(self.batch_size) * np.float32(param.fg_fraction))
        self._mean = self._read_mean()
        self._files = [self._bytes(picture) for picture in self._pictures] if param.cache_images else None
        self._random = new_random(request.process)
        self._place = 0

    def _check(self) -> None:
        p, t = self._request.layer.window_data_param, self._request.layer.transform_param
        if p.batch_size < 1:
            raise DataError(f"window_data_param.batch_size must be at least 1, it is {p.batch_size}")
        if t.crop_size < 1:
            raise DataError("transform_param.crop_size is missing: the size that windows are warped to")
        if p.crop_mode not in ("warp", "square"):
            raise DataError(f'window_data_param.crop_mode must be "warp" or "square", not {p.crop_mode!r}')
        if 2 * p.context_pad >= t.crop_size:
            raise DataError(f"context_pad {p.context_pad} on each side leaves nothing of crop_size {t.crop_size}")
        if not 0 <= p.fg_fraction <= 1:
            raise DataError(f"window_data_param.fg_fraction must lie between 0 and 1, it is {p.fg_fraction:g}")
        if t.HasField("mean_file") and t.mean_value:
            raise DataError("transform_param has both mean_file and mean_value; Caffe takes one of them")
        if t.HasField("scale"):
            glog.warning("transform_param.scale has no effect on WindowData, as in Caffe; use window_data_param.scale")

    def _sort(self, foreground: float, background: float) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the background and of the foreground windows; those between the thresholds are neither."""
        labels, overlaps = self._table[:, 0], self._table[:, 1]
        fits = overlaps >= np.float32(foreground)
        bad = np.flatnonzero(fits & (labels < 1))
        if bad.size:
            picture = self._pictures[self._owner[bad[0]]]
            raise DataError(
                f"{self._list}:{picture.line}: {picture.path} has a window of overlap {overlaps[bad[0]]:g} "
                f"with label {labels[bad[0]]:g}; objects have labels from 1 on"
            )
        kinds = np.flatnonzero(~fits & (overlaps < np.float32(background))), np.flatnonzero(fits)
        for kind, rows in zip(("background", "foreground"), kinds, strict=True):
            if not rows.size:
                raise DataError(f"{self._list} has no {kind} windows (thresholds {background:g} and {foreground:g})")
        return kinds

    def _read_mean(self) -> np.ndarray | None:
        """The mean of the crop's pixels, (crop, crop, C): the middle of mean_file, or mean_value."""
        t = self._request.layer.transform_param
        if t.HasField("mean_file"):
            mean = read_mean(self._request.find("transform_param.mean_file", t.mean_file))
            off = (mean.shape[2] - self._crop) // 2
            middle = mean[:, off : off + self._crop, off : off + self._crop]
            wanted = (self._channels, self._crop, self._crop)
            if off < 0 or middle.shape != wanted:
                raise DataError(f"{t.mean_file} of shape {mean.shape} does not hold the crop's {wanted}")
            return np.ascontiguousarray(middle.transpose(1, 2, 0))
        if not t.mean_value:
            return None
        if len(t.mean_value) not in (1, self._channels):
            raise DataError(f"mean_value must be given once or {self._channels} times, not {len(t.mean_value)}")
        return np.broadcast_to(np.array(t.mean_value, np.float32), (self._crop, self._crop, self._channels))

    def _bytes(self, picture: ListedPicture) -> bytes:
        name = self._root + picture.path
        found = look_up(name, self._request.relative_to)
        try:
            with open(found or name, "rb") as file:
                return file.read()
        except OSError as error:
            where = "" if found else tried(name, self._request.relative_to)
            raise DataError(
                f"{self._list}:{picture.line}: cannot read the picture {name}: {error.strerror}{where}"
            ) from None

    def first(self) -> _Record:
        """A record to take the shapes from."""
        return self._record(0, False)

    def _record(self, row: int, mirror: bool) -> _Record:
        label, overlap, *corners = self._table[row].tolist()
        x1, y1, x2, y2 = map(int, corners)
        is_object = overlap >= self._threshold
        return _Record(int(self._owner[row]), (x1, y1, x2, y2), int(label) if is_object else 0, mirror)

    def take(self, count: int) -> list[_Record]:
        records = []
        for _ in range(count):
            rows = self._kinds[self._place >= self.batch_size - self._foreground]
            row = int(rows[self._random.getrandbits(32) % len(rows)])
            records.append(self._record(row, self._mirror and bool(self._random.getrandbits(32) % 2)))
            self._place = (self._place + 1) % self.batch_size
        return records

    def state(self) -> State:
        return {"windows": len(self._table), "random": generator_state(self._random)}

    def restore(self, state: State) -> list[str]:
        restore_generator(self._random, state["random"])
        self._place = 0
        if state["windows"] == len(self._table):
            return []
        return [f"{self._list} had {state['windows']} windows, it has {len(self._table)}; others are drawn"]

    def read(self, record: _Record) -> _Sample:
        data = self._files[record.picture] if self._files else self._bytes(self._pictures[record.picture])
        pixels = decode_picture(data)
        if pixels is None:
            raise DataError(f"{self.describe(record)}: it is not a picture, or damaged")
        height, width = pixels.shape[:2]
        region = region_of(record.corners, (height, width), self._crop, self._context_pad, self._square, record.mirror)
        x1, y1, x2, y2 = region[:4]
        if not (0 <= x1 <= x2 < width and 0 <= y1 <= y2 < height):
            raise DataError(
                f"{self.describe(record)}: the window {record.corners} (x1, y1, x2, y2) does not lie in the picture, "
                f"which is {width} wide and {height} high"
            )
        part = resize_picture(pixels[y1 : y2 + 1, x1 : x2 + 1], max(1, region.height), max(1, region.width))
        if record.mirror:
            import cv2

            part = cv2.flip(part, 1)
        return _Sample(part, region, record.label)

    def shapes(self, sample: _Sample) -> list[Shape]:
        return [(self._crop, self._crop, self._channels), ()]

    def write(self, sample: _Sample, columns: Columns, at: int) -> None:
        pictures, labels = columns
        assert isinstance(pictures, np.ndarray) and isinstance(labels, np.ndarray)
        crop, region = pictures[at], sample.region
        crop[...] = 0
        down = slice(region.top, region.top + len(sample.pixels))
        right = slice(region.left, region.left + sample.pixels.shape[1])
        part = crop[down, right]
        np.copyto(part, sample.pixels[: part.shape[0], : part.shape[1]])
        if self._mean is not None:
            part -= self._mean[down, right]
        if self._scale != 1:
            part *= self._scale
        labels[at] = sample.label

    def describe(self, record: _Record) -> str:
        picture = self._pictures[record.picture]
        return f"{self._list}:{picture.line}: {self._root}{picture.path}"


@register_source("WindowData")
def _window_data(request: Request) -> Source:
    reader = WindowReader(request)
    return LoadedSource(reader, reader.first(), depth=prefetch_depth(request.layer), share=request.share)
