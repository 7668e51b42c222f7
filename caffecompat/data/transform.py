"""What Caffe's DataTransformer does to a picture: mirror, crop, (pixel - mean) * scale / std.

Order and rules are BVLC's (data_transformer.cpp): whether to mirror is drawn first, then the crop
(TRAIN: random; TEST: center, rounded down); a mean picture is read at the place in the uncropped
picture that the pixel came from, also when mirrored; the scale multiplies last. `std_value`, by which the result is
divided, is ours.
In SSD's Caffe a mean picture is not mirrored with the picture; Jacinto's takes the mean picture's center whatever the
crop. What changes pictures before that is in `caffecompat.data.augment`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from caffecompat.data.per_channel import check_per_channel
from caffecompat.data.source import DataError, Request
from caffecompat.forks import Fork
from caffecompat.formats.mean import read_mean
from caffecompat.schema import pb

__all__ = ["Draw", "Transformer", "Window", "copy_turned", "cut", "turned"]

# Pixels, their floats and the mean of one block stay in the L2 cache through the three passes:
# 1024x512x3 takes 0.6 ms so, 0.9 ms in whole passes, and 0.9 ms through cv2.LUT with three channels.
_BLOCK = 1 << 16


class Draw(NamedTuple):
    """Raw random numbers of one record, drawn before its size is known; used modulo, as Caffe does.

    `scale` seeds the generator of all that is random but mirror and crop.
    """

    mirror: int
    top: int
    left: int
    scale: int

    @classmethod
    def of(cls, generator: random.Random) -> Draw:
        """The next one."""
        bits = generator.getrandbits
        return cls(bits(32), bits(32), bits(32), bits(32))


class Window(NamedTuple):
    """The part of a picture that goes into the batch."""

    top: int
    left: int
    height: int
    width: int
    mirror: bool

    @property
    def bottom(self) -> int:
        """The row below its last."""
        return self.top + self.height

    def share(self, height: int, width: int) -> np.ndarray:
        """xmin, ymin, xmax, ymax of it in units of a picture of that size."""
        corners = np.array([self.left, self.top, self.left + self.width, self.top + self.height], np.float32)
        return corners / np.array([width, height] * 2, np.float32)


class Transformer:
    """The `transform_param` of one data layer.

    Attributes:
        crop: (height, width), or None.
        scale: its `scale`, without std_value.
    """

    def __init__(self, request: Request, *, mean_file_allowed: bool = True, resizes: bool | None = None) -> None:
        """`resizes`: whether the layer obeys resize_param, or only expects its size; by default all but Xilinx's do."""
        param = request.layer.transform_param
        resizes = request.fork is not Fork.XILINX if resizes is None else resizes
        _refuse_unsupported(param)
        self._train = request.train
        self._centered_mean = request.fork.is_nvcaffe
        self._still_mean = request.fork is Fork.SSD
        self._mirror = param.mirror
        self.scale = np.float32(param.scale)
        self.crop = _crop_size(param)
        self.force = _forced_color(param)
        self._must_be = None if resizes else _promised_size(param)
        self._mean = _Channels(param.mean_value) if len(param.mean_value) else None
        self._std = _positive(param.std_value)
        self._factor = _Channels(self.scale / np.array(self._std)) if len(self._std) > 1 else None
        self._common_factor = self.scale / np.float32(self._std[0]) if len(self._std) == 1 else self.scale
        self._mean_path = ""
        self._mean_picture: np.ndarray | None = None
        if param.HasField("mean_file"):
            if not mean_file_allowed:
                raise DataError(f"{request.layer.type} takes mean_value, not mean_file")
            if self._mean is not None:
                raise DataError("transform_param has both mean_file and mean_value; Caffe takes one of them")
            self._mean_path = request.find("transform_param.mean_file", param.mean_file)
            self._mean_picture = np.ascontiguousarray(read_mean(self._mean_path).transpose(1, 2, 0))

    @property
    def mean_color(self) -> np.ndarray | None:
        """(1) or (C), the mean of each channel, also of a mean picture's; None without a mean."""
        if self._mean is not None:
            return self._mean.values
        return None if self._mean_picture is None else self._mean_picture.mean((0, 1))

    @property
    def same_for_all(self) -> bool:
        """Whether each pixel's value alone decides what becomes of it: nothing cut, mirrored or read from a file."""
        return not (self._mirror or self.crop or self._must_be or self._mean_path)

    @property
    def draws(self) -> bool:
        """Whether a record needs random numbers."""
        return bool(self._mirror or (self._train and self.crop))

    def draw(self, generator: random.Random) -> Draw | None:
        """The random numbers of the next record; None where nothing is random."""
        return Draw.of(generator) if self.draws else None

    def output_shape(self, height: int, width: int, channels: int) -> tuple[int, int, int]:
        """(H, W, C) in the batch of a picture of that size.

        Raises:
            DataError: the crop is larger than the picture, or a mean does not fit it.
        """
        if self._must_be and (height, width) != self._must_be:
            raise DataError(
                f"the picture is {height}x{width}, resize_param says {self._must_be[0]}x{self._must_be[1]}: this "
                f"layer does not resize, it only expects that size (Xilinx Caffe); set new_height and new_width to it"
            )
        if self._mean is not None:
            check_per_channel(self._mean.values, channels, "mean_value")
        if self._std:
            check_per_channel(self._std, channels, "std_value")
        mean = self._mean_picture
        whole = (height, width, channels)
        if mean is not None and self._centered_mean:
            whole = (*(self.crop or (height, width)), channels)
            mean = mean[: whole[0], : whole[1]]
        if mean is not None and mean.shape != whole:
            raise DataError(
                f"the mean file {self._mean_path} is {_size(mean.shape)} and the picture "
                f"{_size(whole)} (height x width x channels); they must be equal"
            )
        if self.crop is None:
            return height, width, channels
        if self.crop[0] > height or self.crop[1] > width:
            raise DataError(f"the crop of {_size(self.crop)} is larger than the picture, {_size((height, width))}")
        return (*self.crop, channels)

    def window(self, height: int, width: int, draw: Draw | None) -> Window:
        """Where to cut a (padded) picture of that size, and whether to mirror it."""
        mirror = bool(self._mirror and draw is not None and draw.mirror % 2)
        if self.crop is None:
            return Window(0, 0, height, width, mirror)
        down, right = max(0, height - self.crop[0]), max(0, width - self.crop[1])
        if self._train and draw is not None:
            return Window(draw.top % (down + 1), draw.left % (right + 1), *self.crop, mirror)
        return Window(down // 2, right // 2, *self.crop, mirror)

    @property
    def linear(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Mean and factor, float32, (1) or (C) each: a pixel becomes ``(pixel - mean) * factor``.

        None with a mean picture, which each pixel has another value of.
        """
        if self._mean_picture is not None:
            return None
        mean = np.zeros(1, np.float32) if self._mean is None else self._mean.values
        return mean, np.atleast_1d(self._common_factor) if self._factor is None else self._factor.values

    def place(self, part: np.ndarray, window: Window, out: np.ndarray) -> None:
        """Write a picture's part (h, w, C) of any dtype into `out` (h, w, C) float32, mirrored and normalized.

        Args:
            window: where in the picture the part lies, which a mean picture needs, and whether to mirror it.
        """
        self.normalize(turned(part, window), window, out)

    def normalize(self, pixels: np.ndarray, window: Window | None, out: np.ndarray) -> None:
        """Write (h, w, C) pixels of any dtype, cut and mirrored already, into `out` (h, w, C) float32.

        Args:
            window: where in the picture they lie, which a mean picture needs; None where there is none (`linear`):
                then it may be several pictures on top of each other.
        """
        height, width, channels = out.shape
        means = self._mean_rows(window, width, channels)
        factors = None if self._factor is None else self._factor.rows(width, channels)
        rows = out.reshape(height, width * channels)
        pixels = pixels.reshape(height, width * channels)
        step = max(1, _BLOCK // (width * channels))
        for at in range(0, height, step):
            block = rows[at : at + step]
            np.copyto(block, pixels[at : at + step], casting="unsafe")
            if means is not None:
                mean = means[at : at + step] if self._mean_picture is not None else means[: len(block)]
                np.subtract(block, mean, out=block)
            if factors is not None:
                np.multiply(block, factors[: len(block)], out=block)
            elif self._common_factor != 1:
                np.multiply(block, self._common_factor, out=block)

    def _mean_rows(self, window: Window | None, width: int, channels: int) -> np.ndarray | None:
        """The mean of the window as rows of W*C floats: of all rows, or as many as a block has (mean_value)."""
        if self._mean_picture is not None:
            assert window is not None
            if self._still_mean:
                window = window._replace(mirror=False)
            if self._centered_mean:
                whole = self._mean_picture.shape
                window = window._replace(top=(whole[0] - window.height) // 2, left=(whole[1] - window.width) // 2)
            return cut(self._mean_picture, window).reshape(window.height, -1)
        return None if self._mean is None else self._mean.rows(width, channels)


class _Channels:
    """Values, one or one a channel, repeated along rows of pixels; those of the last size are kept."""

    def __init__(self, values: Iterable[float]) -> None:
        self.values = np.array(list(values), np.float32)
        self._last: tuple[tuple[int, int], np.ndarray] = (0, 0), np.empty(0)

    def rows(self, width: int, channels: int) -> np.ndarray:
        """As many rows of width*C floats as a block has."""
        wanted = (width, channels)
        size, block = self._last
        if size != wanted:
            row = np.tile(np.broadcast_to(self.values, (channels,)), width)
            block = np.tile(row, (max(1, _BLOCK // row.size), 1))
            self._last = wanted, block
        return block


def cut(picture: np.ndarray, window: Window) -> np.ndarray:
    """The window of a (H, W, C) picture; a view unless mirrored."""
    top, left, height, width, _ = window
    return turned(picture[top : top + height, left : left + width], window)


def turned(part: np.ndarray, window: Window) -> np.ndarray:
    """A part (h, w, C) of a picture as its window has it: mirrored, or the same array."""
    if not window.mirror:
        return part
    import cv2

    return cv2.flip(part, 1).reshape(part.shape)


def copy_turned(part: np.ndarray, window: Window, out: np.ndarray) -> None:
    """Write a part (h, w, C) of a picture into `out` of the same shape and type, as its window has it."""
    if not window.mirror:
        np.copyto(out, part)
        return
    import cv2

    cv2.flip(part, 1, dst=out)


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _crop_size(param: pb.TransformationParameter) -> tuple[int, int] | None:
    """crop_size, or crop_h and crop_w (SSD, Xilinx, Jacinto), or crop_height and crop_width (PSPNet)."""
    sizes = {(param.crop_size, param.crop_size), (param.crop_h, param.crop_w), (param.crop_height, param.crop_width)}
    sizes.discard((0, 0))
    if not sizes:
        return None
    if len(sizes) > 1:
        raise DataError("transform_param gives the crop twice; use crop_size, or a height and a width")
    (size,) = sizes
    if 0 in size:
        raise DataError("transform_param gives only one side of the crop; it needs a height and a width")
    return size


def _positive(values: Sequence[float]) -> list[float]:
    """std_value, checked."""
    for value in values:
        if not 0 < value < math.inf:
            raise DataError(f"transform_param.std_value must be a number above 0, one is {value:g}")
    return list(values)


def _forced_color(param: pb.TransformationParameter) -> bool | None:
    """How to decode: True three channels, False one, None as stored."""
    if param.force_color and param.force_gray:
        raise DataError("transform_param has both force_color and force_gray; Caffe takes one of them")
    return True if param.force_color else False if param.force_gray else None


def _promised_size(param: pb.TransformationParameter) -> tuple[int, int] | None:
    if param.HasField("resize_param"):
        return param.resize_param.height, param.resize_param.width
    return None


_UNSUPPORTED = ("yolo_height", "yolo_width", "rotate")


def _refuse_unsupported(param: pb.TransformationParameter) -> None:
    """Augmentations of the forks that would change the batches and are not done here."""
    names = [name for name in _UNSUPPORTED if param.HasField(name)]
    if names:
        raise DataError(f"transform_param has {', '.join(names)}, which this layer does not support")
