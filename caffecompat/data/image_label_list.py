"""`ImageLabelListData`: pictures and label pictures from two text lists, as older Jacinto Caffes read them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from caffecompat import glog
from caffecompat.data.augment.augmentation import Augmentation, Augmented
from caffecompat.data.augment.sample import Sample
from caffecompat.data.augmenting_reader import AugmentingReader
from caffecompat.data.databases import prefetch_depth
from caffecompat.data.label_picture import warn_of_gray_reading
from caffecompat.data.loaded_source import LoadedSource
from caffecompat.data.source import DataError, Request, Shape, Source, register_source
from caffecompat.data.transform import Draw
from caffecompat.data.walk import ListWalk
from caffecompat.formats.image_list import ListedPair, PairedPaths, open_path_list
from caffecompat.formats.picture import PictureError, check_size, read_picture, resize_picture
from caffecompat.paths import look_up, tried
from caffecompat.resumable import State, generator_state, restore_generator
from caffecompat.schema import pb
from caffecompat.threads import cores

__all__ = ["ImageLabelListDataReader"]

_IGNORED = 255  # labels where there is no picture


class _Scaling(NamedTuple):
    """Random numbers of one record: whether to scale and how much, in [0, 1), and the transformer's."""

    coin: float
    amount: float
    draw: Draw | None


class ImageLabelListDataReader(AugmentingReader):
    """The lists `image_list_path` and `label_list_path`, line by line in step (NVCaffe 0.15 and 0.16).

    Tops: data (N, 3, H, W), label (N, 1, H, W) of gray values, not scaled. In this order: a picture whose sides
    are not within size_min and size_max is resized to them (bilinear, labels too, as in the fork); with
    probability scale_prob both are scaled by scale_min to scale_max (pictures cubic when growing, by area when
    shrinking, labels nearest); pictures smaller than the crop are padded on all sides, by reflection or 0
    (`padding`), labels by 255; what transform_param says. Where that resizes, pictures are not padded in the fork's way
    before, and transform_param's own padding counts. `label_slice` then takes every stride-th label
    from an offset on, after both were widened by that offset.
    The list starts over with the batch after the one that reaches its end.
    """

    def __init__(self, request: Request) -> None:
        self._param = param = request.layer.image_label_data_param
        request.tops(2)
        self.batch_size = param.batch_size
        if self.batch_size < 1:
            raise DataError(f"image_label_data_param.batch_size must be at least 1, it is {self.batch_size}")
        self._request = request
        self._augmentation = Augmentation(request, mean_file_allowed=False)
        self._crop = 0 if self._augmentation.moves else max(self._augmentation.transformer.crop or (0, 0))
        self._slice = _Slice.of(param.label_slice) if param.HasField("label_slice") else None
        if self._augmentation.moves:
            _refuse_with_geometry(param)
        self._random = request.generator()
        shared = "" if param.image_dir or param.label_dir else param.data_dir
        self._folders = param.image_dir or shared, param.label_dir or shared
        self._entries = self._read_lists()
        self.records = len(self._entries)
        label = self._folders[1] + self._entries[0].label
        warn_of_gray_reading(request.layer.name, look_up(label, request.relative_to) or label)
        self._walk = ListWalk(self._list, self._entries, self._random if param.shuffle else None)
        if param.rand_skip:
            self._walk.at = self._random.getrandbits(32) % param.rand_skip
        if self._walk.at >= len(self._entries):
            raise DataError(f"image_label_data_param.rand_skip is more than the {len(self._entries)} lines of the list")
        self._in_batch = 0

    def _read_lists(self) -> Sequence[ListedPair]:
        names = ("image_list_path", "label_list_path")
        paths = [self._request.find(f"image_label_data_param.{name}", getattr(self._param, name)) for name in names]
        images, labels = (open_path_list(path) for path in paths)
        self._list = paths[0]
        if len(images) != len(labels):
            raise DataError(f"{paths[0]} lists {len(images)} files and {paths[1]} {len(labels)}; they need one each")
        entries = PairedPaths(images, labels)
        return self._readable(entries) if self._param.check_image_files else entries

    def _readable(self, entries: Sequence[ListedPair]) -> list[ListedPair]:
        """Those whose files can be read; a log line about each other."""

        def check(entry: ListedPair) -> bool:
            try:
                return all(part is not None for part in self._load(entry))
            except DataError as error:
                glog.info(f"{error} - ignoring it", "image_label_list_data_layer.cpp:1")
                return False

        with ThreadPoolExecutor(cores()) as pool:
            good = [entry for entry, fine in zip(entries, pool.map(check, entries), strict=True) if fine]
        if not good:
            raise DataError(f"none of the files that {self._list} lists can be read")
        return good

    def first(self) -> Any:
        """The first record, left in its place."""
        return self._entries[self._walk.number()], None

    def take(self, count: int) -> list[Any]:
        records = []
        for _ in range(count):
            entry = self._entries[self._walk.number(self._in_batch)]
            records.append((entry, self._draw()))
            self._in_batch += 1
            if self._in_batch == self.batch_size:
                self._in_batch = 0
                self._walk.advance(self.batch_size)
        return records

    def redrawn(self, record: Any) -> Any:
        return record[0], self._draw()

    def _draw(self) -> _Scaling:
        """The random numbers of the next record."""
        return _Scaling(self._random.random(), self._random.random(), self._augmentation.draw(self._random))

    def state(self) -> State:
        return {"walk": self._walk.state(), "random": generator_state(self._random)}

    def restore(self, state: State) -> list[str]:
        restore_generator(self._random, state["random"])
        self._in_batch = 0
        return self._walk.restore(state["walk"])

    def describe(self, record: Any) -> str:
        return f"{self._list}:{record[0].line}: {self._folders[0]}{record[0].image}"

    def _load(self, entry: ListedPair) -> tuple[np.ndarray, np.ndarray]:
        parts = []
        for folder, path, color in zip(self._folders, (entry.image, entry.label), (True, False), strict=True):
            try:
                picture = read_picture(folder + path, color)
                if picture is None:
                    found = look_up(folder + path, self._request.relative_to)
                    picture = read_picture(found, color) if found else None
            except PictureError as problem:
                raise DataError(f"{self._list}:{entry.line}: {problem}") from None
            if picture is None:
                why = (
                    "not a picture, or damaged"
                    if found
                    else f"no such file{tried(folder + path, self._request.relative_to)}"
                )
                raise DataError(f"{self._list}:{entry.line}: cannot read the picture {folder}{path}: {why}")
            parts.append(picture)
        return parts[0], parts[1]

    def read(self, record: Any) -> Augmented:
        entry, chance = record
        picture, label = self._load(entry)
        if picture.shape[:2] != label.shape[:2]:
            raise DataError(
                f"{self.describe(record)} is {picture.shape[0]}x{picture.shape[1]}, its label {entry.label} is "
                f"{label.shape[0]}x{label.shape[1]} (height x width); they must be equal"
            )
        height, width = picture.shape[:2]
        height, width = _limited(height, width, self._param.size_min, self._param.size_max)
        picture, label = resize_picture(picture, height, width), resize_picture(label, height, width)
        if chance is not None and self._param.scale_prob and chance.coin <= self._param.scale_prob:
            least, most = self._param.scale_min, self._param.scale_max
            picture, label = _scaled(picture, label, least + (most - least) * chance.amount)
        margin = self._slice.offset if self._slice else (0, 0)
        reflects = self._param.padding == pb.ImageLabelDataParameter.REFLECT
        picture = _padded(picture, margin, self._crop, None if reflects else 0)
        label = _padded(label, margin, self._crop, _IGNORED)
        return self._augmentation(Sample(picture, label), chance.draw if chance else None)

    def shapes(self, sample: Augmented) -> list[Shape]:
        shape = sample.shape
        if self._slice is None:
            return [shape, sample.label_shape]
        self._slice.check(shape[0], shape[1])
        return [shape, (*self._slice.size, 1)]

    def write_labels(self, sample: Augmented, arrays: Sequence[np.ndarray], at: int) -> None:
        label = self._augmentation.label(sample)
        np.copyto(arrays[0][at], self._slice.of_label(label) if self._slice else label)


class _Slice(NamedTuple):
    """Every `stride`-th label from `offset` on, `size` of them; (rows, columns)."""

    size: tuple[int, int]
    stride: tuple[int, int]
    offset: tuple[int, int]

    @classmethod
    def of(cls, param: pb.ImageSliceInfo) -> _Slice:
        if not len(param.dim) == len(param.stride) == len(param.offset) == 2 or not all(param.stride):
            raise DataError("label_slice needs two numbers each of dim, stride (at least 1) and offset: height, width")
        return cls(*((values[0], values[1]) for values in (param.dim, param.stride, param.offset)))

    def check(self, height: int, width: int) -> None:
        last = [o + s * (n - 1) for o, s, n in zip(self.offset, self.stride, self.size, strict=True)]
        if last[0] >= height or last[1] >= width:
            raise DataError(f"label_slice reaches row {last[0]}, column {last[1]}; the labels are {height}x{width}")

    def of_label(self, label: np.ndarray) -> np.ndarray:
        (down, right), (row, column), (top, left) = self.size, self.stride, self.offset
        return label[top::row, left::column][:down, :right]


def _refuse_with_geometry(param: pb.ImageLabelDataParameter) -> None:
    """Refuse what scales or pads once more beside a transform_param that resizes."""
    names = [name for name in ("scale_prob", "padding", "label_slice") if param.HasField(name)]
    if names:
        raise DataError(f"image_label_data_param.{names[0]} cannot be combined with what resizes in transform_param")


def _limited(height: int, width: int, least: int, most: int) -> tuple[int, int]:
    """The size within size_min (for the shorter side) and size_max (the longer); 0 is no limit."""
    if not ((least and min(height, width) < least) or (most and max(height, width) > most)):
        return height, width

    def clip(side: float) -> int:
        side = min(side, most) if most else side
        return int(max(side, least))

    width_first = width < height if least else width > height
    if width_first:
        new = clip(width)
        return clip(int(new * height / width + 0.5)), new
    new = clip(height)
    return new, clip(int(new * width / height + 0.5))


def _scaled(picture: np.ndarray, label: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    import cv2

    if min(picture.shape[:2]) * scale < 0.5:
        raise DataError(f"scaling by {scale:g} leaves nothing of a picture of {picture.shape[0]}x{picture.shape[1]}")
    check_size(int(picture.shape[0] * scale), int(picture.shape[1] * scale), "the scaled picture")
    smooth = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=smooth)
    label = cv2.resize(label, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    return picture, label[:, :, None]


def _padded(picture: np.ndarray, margin: tuple[int, int], least: int, value: int | None) -> np.ndarray:
    """Widened by the margin on all sides, then to `least` pixels; by reflection (`value` None) or a constant.

    An odd pixel goes below and, as in the fork, to the left.
    """
    import cv2

    height, width, channels = picture.shape
    down, right = (max(0, least - side - 2 * more) for side, more in zip((height, width), margin, strict=True))
    if not (down or right or any(margin)):
        return picture
    new = height + 2 * margin[0] + down, width + 2 * margin[1] + right
    check_size(*new, "the picture, padded up to the crop,")
    border = cv2.BORDER_REFLECT_101 if value is None else cv2.BORDER_CONSTANT
    for top, bottom, left, end in (
        (margin[0], margin[0], margin[1], margin[1]),
        (down // 2, down - down // 2, right - right // 2, right // 2),
    ):
        picture = cv2.copyMakeBorder(picture, top, bottom, left, end, border, value=value or 0)
    return picture.reshape(*new, channels)


@register_source("ImageLabelListData")
def _image_label_list_data(request: Request) -> Source:
    reader = ImageLabelListDataReader(request)
    threads = request.layer.image_label_data_param.threads
    depth = prefetch_depth(request.layer)
    return LoadedSource(reader, reader.first(), depth=depth, threads=threads, share=request.share)
