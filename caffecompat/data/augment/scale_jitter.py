"""Scaling by a random factor: `scale_min` and `scale_max`, and the `scale_factors` of PSPNet and DeepLab."""

from __future__ import annotations

import math

import numpy as np

from caffecompat.data.augment.resampling import resized
from caffecompat.data.augment.sample import Sample
from caffecompat.data.source import DataError
from caffecompat.formats.picture import check_size
from caffecompat.schema import pb

__all__ = ["ScaleFactors", "ScaleJitter"]


class ScaleJitter:
    """Both sides times one number, drawn evenly from scale_min to scale_max, and rounded."""

    def __init__(self, param: pb.TransformationParameter) -> None:
        if not (param.HasField("scale_min") and param.HasField("scale_max")):
            raise DataError("transform_param needs scale_min and scale_max together, or neither")
        self._least, self._most, self._mode = param.scale_min, param.scale_max, param.interp_mode
        if not 0 < self._least <= self._most < math.inf:
            raise DataError(
                f"transform_param: expected 0 < scale_min <= scale_max, found {self._least:g} and {self._most:g}"
            )

    @classmethod
    def of(cls, param: pb.TransformationParameter) -> ScaleJitter | None:
        """What a TransformationParameter asks for, or None."""
        return cls(param) if param.HasField("scale_min") or param.HasField("scale_max") else None

    def size(self, height: int, width: int, generator: np.random.Generator) -> tuple[int, int]:
        """A new (height, width)."""
        factor = generator.uniform(self._least, self._most)
        return max(1, int(height * factor + 0.5)), max(1, int(width * factor + 0.5))

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        height, width = self.size(*sample.size, generator)
        check_size(height, width, "the scaled picture")
        return resized(sample, height, width, self._mode)


class ScaleFactors:
    """Both sides times one of `scale_factors`, rounded down, in TRAIN and TEST alike (PSPNet image_seg_data_layer)."""

    def __init__(self, param: pb.TransformationParameter) -> None:
        self._factors, self._mode = [np.float32(factor) for factor in param.scale_factors], param.interp_mode
        for factor in self._factors:
            if not 0 < factor < math.inf:
                raise DataError(f"transform_param.scale_factors must be more than 0, one is {factor:g}")

    @classmethod
    def of(cls, param: pb.TransformationParameter) -> ScaleFactors | None:
        """What a TransformationParameter asks for, or None."""
        return cls(param) if len(param.scale_factors) else None

    def __call__(self, sample: Sample, choice: int) -> Sample:
        """`choice` is any number, used modulo."""
        factor = self._factors[choice % len(self._factors)]
        height, width = (int(side * factor) for side in sample.size)
        if not (height and width):
            raise DataError(f"scale_factors {factor:g} leaves nothing of it")
        return resized(sample, height, width, self._mode)
