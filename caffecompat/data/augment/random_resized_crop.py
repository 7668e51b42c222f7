"""`random_resized_crop_param`: a part of random area and aspect, resized to the crop, as torchvision draws it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from caffecompat.data.augment.resampling import part_of, resized
from caffecompat.data.augment.sample import Sample
from caffecompat.data.source import DataError
from caffecompat.schema import pb

__all__ = ["Part", "RandomResizedCrop", "checked_attempts"]

_NAME = "random_resized_crop_param"
_MOST_ATTEMPTS = 1000


class Part(NamedTuple):
    """A part of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int


def checked_attempts(count: int, name: str) -> int:
    """A number of attempts that ends."""
    if count > _MOST_ATTEMPTS:
        raise DataError(f"{name} must be at most {_MOST_ATTEMPTS}, it is {count}")
    return count


class RandomResizedCrop:
    """The parts of torchvision's RandomResizedCrop.get_params, and its sizes after rounding.

    The part's area is drawn evenly from min_area to max_area of the picture's, its aspect (width / height) evenly in
    its logarithm, and its place evenly. A part that does not fit is drawn again; after `attempts` it is the largest one
    at the center whose aspect is within the limits.
    """

    def __init__(self, param: pb.TransformationParameter, crop: tuple[int, int] | None) -> None:
        if crop is None:
            raise DataError(f"{_NAME} resizes to the crop; transform_param needs crop_size, or a height and a width")
        given = param.random_resized_crop_param
        self._areas, self._aspects = (given.min_area, given.max_area), (given.min_aspect, given.max_aspect)
        for name, (least, most) in (("area", self._areas), ("aspect", self._aspects)):
            if not (0 < least <= most < math.inf):
                raise DataError(f"{_NAME}: expected 0 < min_{name} <= max_{name}, found {least:g} and {most:g}")
        self._attempts = checked_attempts(given.attempts, f"{_NAME}.attempts")
        self._modes: list[int] = list(given.interp_mode) or [param.interp_mode]
        self._crop = crop
        self._emit = param.emit_constraint if param.HasField("emit_constraint") else None

    @classmethod
    def of(cls, param: pb.TransformationParameter, crop: tuple[int, int] | None) -> RandomResizedCrop | None:
        """What a TransformationParameter asks for, or None; `crop` is its (height, width)."""
        return cls(param, crop) if param.HasField(_NAME) else None

    def part(self, height: int, width: int, generator: np.random.Generator) -> Part:
        """A part of a picture of that size."""
        logarithms = math.log(self._aspects[0]), math.log(self._aspects[1])
        for _ in range(self._attempts):
            area = height * width * generator.uniform(*self._areas)
            aspect = math.exp(generator.uniform(*logarithms))
            wide, tall = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < wide <= width and 0 < tall <= height:
                top, left = generator.integers(0, (height - tall + 1, width - wide + 1)).tolist()
                return Part(top, left, tall, wide)
        least, most = self._aspects
        tall, wide = height, width
        if width / height < least:
            tall = max(1, round(width / least))
        elif width / height > most:
            wide = max(1, round(height * most))
        return Part((height - tall) // 2, (width - wide) // 2, tall, wide)

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        part = self.part(*sample.size, generator)
        mode = self._modes[generator.integers(len(self._modes))] if len(self._modes) > 1 else self._modes[0]
        return resized(part_of(sample, *part, self._emit), *self._crop, mode)
