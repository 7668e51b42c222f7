"""Intel's `random_aspect_ratio_param`: a part of random area and shape, resized to the crop."""

from __future__ import annotations

import math

import numpy as np

from caffecompat.data.augment.random_resized_crop import Part, checked_attempts
from caffecompat.data.augment.resampling import part_of
from caffecompat.data.augment.resize import Resize
from caffecompat.data.augment.sample import Sample
from caffecompat.data.augment.short_side import in_floats
from caffecompat.data.source import DataError
from caffecompat.schema import pb

__all__ = ["RandomAspectRatio"]

_NAME = "random_aspect_ratio_param"
_MOST = 100  # an area or a change of sides beyond it is a mistake, and its thousandths would be too many


class RandomAspectRatio:
    """Intel Caffe's draw (data_transformer.cpp, RandomAlterAspectRatio), in TRAIN and TEST alike.

    The area is a share of the picture's, drawn from min_area_ratio to max_area_ratio, and the sides are its root times
    and by a number from aspect_ratio_change to 1 / aspect_ratio_change, both in steps of a thousandth; with a chance of
    500 in 1001 the sides are exchanged. Without a part that fits in `max_attempt` (the fork always takes 10) the whole
    picture's shorter side is resized to the crop. The inner resize_param says how it is resized.
    """

    def __init__(self, param: pb.TransformationParameter, ignore_label: int) -> None:
        given = param.random_aspect_ratio_param
        self._crop = param.crop_size
        if not self._crop:
            raise DataError(f"{_NAME} resizes to the crop_size; transform_param has none")
        self._areas = given.min_area_ratio, given.max_area_ratio
        if not 0 < given.min_area_ratio <= given.max_area_ratio <= _MOST:
            raise DataError(
                f"{_NAME}: expected 0 < min_area_ratio <= max_area_ratio <= {_MOST}, found {given.min_area_ratio:g} "
                f"and {given.max_area_ratio:g}"
            )
        if not 1 / _MOST <= given.aspect_ratio_change <= 1:
            raise DataError(
                f"{_NAME}.aspect_ratio_change must be from {1 / _MOST:g} to 1, it is {given.aspect_ratio_change:g}"
            )
        self._changes = given.aspect_ratio_change, 1 / given.aspect_ratio_change
        self._attempts = checked_attempts(given.max_attempt, f"{_NAME}.max_attempt")
        self._how, self._ignore_label = given.resize_param, ignore_label
        self._emit = param.emit_constraint if param.HasField("emit_constraint") else None

    @classmethod
    def of(cls, param: pb.TransformationParameter, ignore_label: int = 255) -> RandomAspectRatio | None:
        """What a TransformationParameter asks for, or None."""
        return cls(param, ignore_label) if param.HasField(_NAME) else None

    def part(self, height: int, width: int, generator: np.random.Generator) -> Part | None:
        """A part of a picture of that size; None where none fits."""
        for _ in range(self._attempts):
            side = math.sqrt(_ratio(*self._areas, generator) * height * width)
            change = _ratio(*self._changes, generator)
            tall, wide = int(side * change), int(side / change)
            if _ratio(0, 1, generator) < 0.5:
                tall, wide = wide, tall
            if 0 < tall <= height and 0 < wide <= width:
                top, left = generator.integers(0, (height - tall + 1, width - wide + 1)).tolist()
                return Part(top, left, tall, wide)
        return None

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        part = self.part(*sample.size, generator)
        if part is None:
            size = in_floats(*sample.size, self._crop)
            return Resize.to(self._how, *size, self._ignore_label)(sample, generator)
        cut = part_of(sample, *part, self._emit)
        return Resize.to(self._how, self._crop, self._crop, self._ignore_label)(cut, generator)


def _ratio(least: float, most: float, generator: np.random.Generator) -> float:
    """A number from `least` to `most` in steps of a thousandth."""
    return (int(generator.integers(int((most - least) * 1000 + 1))) + least * 1000) / 1000
