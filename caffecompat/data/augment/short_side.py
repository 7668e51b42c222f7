"""Resizing by the shorter side: `short_side`, and Intel's `random_resize_param`."""

from __future__ import annotations

import numpy as np

from caffecompat.data.augment.resampling import resized
from caffecompat.data.augment.resize import Resize
from caffecompat.data.augment.sample import Sample
from caffecompat.data.source import DataError
from caffecompat.formats.picture import check_size
from caffecompat.schema import pb

__all__ = ["RandomShortSide", "ShortSide", "by_short_side", "in_floats"]


def by_short_side(height: int, width: int, side: int) -> tuple[int, int]:
    """The (height, width) at which the shorter side is `side`; the longer one is rounded down, as in torchvision."""
    if height < width:
        return side, side * width // height
    return side * height // width, side


def in_floats(height: int, width: int, side: int) -> tuple[int, int]:
    """`by_short_side` in single precision, as Intel Caffe has it, which may come out a pixel shorter."""
    tall, wide, new = np.float32(height), np.float32(width), np.float32(side)
    return (side, int(wide / tall * new)) if height < width else (int(tall / wide * new), side)


class ShortSide:
    """The shorter side becomes `short_side`, and the aspect is kept, in TRAIN and TEST alike (torchvision's Resize)."""

    def __init__(self, param: pb.TransformationParameter) -> None:
        self._side, self._mode = param.short_side, param.interp_mode
        check_size(self._side, self._side, "transform_param.short_side: the resized picture")

    @classmethod
    def of(cls, param: pb.TransformationParameter) -> ShortSide | None:
        """What a TransformationParameter asks for, or None."""
        return cls(param) if param.short_side else None

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        return resized(sample, *by_short_side(*sample.size, self._side), self._mode)


class RandomShortSide:
    """Intel's `random_resize_param` (Intel Caffe data_transformer.cpp, RandomResizeImage), in TRAIN and TEST alike.

    The shorter side becomes a whole number from min_size (without one, the shorter side's) to max_size (without one,
    the longer side's), the longer one is rounded down. The inner resize_param says how it is resized.
    """

    def __init__(self, param: pb.TransformationParameter, crop: tuple[int, int] | None, ignore_label: int) -> None:
        given = param.random_resize_param
        if crop is None:
            raise DataError("random_resize_param makes pictures of many sizes; transform_param needs a crop_size")
        if given.max_size and given.min_size > given.max_size:
            raise DataError(
                f"random_resize_param: expected min_size <= max_size, found {given.min_size} and {given.max_size}"
            )
        self._sizes = given.min_size, given.max_size
        self._how, self._ignore_label = given.resize_param, ignore_label

    @classmethod
    def of(
        cls, param: pb.TransformationParameter, crop: tuple[int, int] | None, ignore_label: int = 255
    ) -> RandomShortSide | None:
        """What a TransformationParameter asks for, or None; `crop` is its (height, width)."""
        return cls(param, crop, ignore_label) if param.HasField("random_resize_param") else None

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        least, most = self._sizes[0] or min(sample.size), self._sizes[1] or max(sample.size)
        if least > most:
            raise DataError(
                f"random_resize_param: its min_size of {least} is more than the longer side of the picture, {most}; "
                "give a max_size"
            )
        side = int(generator.integers(least, most + 1))
        size = in_floats(*sample.size, side)
        return Resize.to(self._how, *size, self._ignore_label)(sample, generator)
