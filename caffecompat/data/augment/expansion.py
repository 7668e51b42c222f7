"""`expand_param`: a picture somewhere on a larger canvas of mean_value (SSD's im_transforms.cpp)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from caffecompat.data.augment.fill import mean_pixel
from caffecompat.data.augment.resampling import padded
from caffecompat.data.augment.sample import Sample
from caffecompat.data.source import DataError
from caffecompat.formats.picture import check_size
from caffecompat.schema import pb

__all__ = ["Canvas", "Expansion"]


class Canvas(NamedTuple):
    """A picture lies at (top, left) on a canvas of (height, width) pixels."""

    top: int
    left: int
    height: int
    width: int


class Expansion:
    """With a probability of `prob` a canvas whose sides are from 1 to max_expand_ratio times as long."""

    def __init__(self, param: pb.TransformationParameter, ignore_label: int) -> None:
        """`ignore_label`: of the canvas around a label picture."""
        self._mean, self._ignore_label = list(param.mean_value), ignore_label
        self._most, self._probability = param.expand_param.max_expand_ratio, param.expand_param.prob
        if not 1 < self._most < math.inf:
            raise DataError(f"expand_param.max_expand_ratio must be more than 1, it is {self._most:g}")
        if not 0 <= self._probability <= 1:
            raise DataError(f"expand_param.prob must be from 0 to 1, it is {self._probability:g}")
        if param.HasField("mean_file"):
            raise DataError("expand_param takes its color from mean_value; transform_param has a mean_file")

    @classmethod
    def of(cls, param: pb.TransformationParameter, ignore_label: int = 255) -> Expansion | None:
        """What a TransformationParameter asks for, or None."""
        return cls(param, ignore_label) if param.HasField("expand_param") else None

    def canvas(self, height: int, width: int, generator: np.random.Generator) -> Canvas | None:
        """A canvas for a picture of that size; None where it stays without."""
        if not self._probability or generator.random() > self._probability or abs(self._most - 1) < 1e-2:
            return None
        ratio = generator.uniform(1, self._most)
        new = int(height * ratio), int(width * ratio)
        check_size(*new, "expand_param: the canvas")
        top, left = (int(generator.uniform(0, room)) for room in (new[0] - height, new[1] - width))
        return Canvas(top, left, *new)

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        canvas = self.canvas(*sample.size, generator)
        if canvas is None:
            return sample
        top, left, height, width = canvas
        pixel = mean_pixel(self._mean, sample.picture.shape[2])
        return padded(sample, (top, left), (height, width), pixel, self._ignore_label)
