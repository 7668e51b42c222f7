"""`random_erase_param`: rectangles of a normalized picture overwritten (timm's RandomErasing, random_erasing.py)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from caffecompat.data.source import DataError
from caffecompat.schema import pb

__all__ = ["RandomErase"]

_Mode: Any = pb.RandomEraseParameter
_ATTEMPTS = 10
_MOST = 1000  # rectangles a picture


class RandomErase:
    """A RandomEraseParameter.

    With probability `prob`, from 1 to `count` rectangles of a picture become 0 (CONST), one random number a channel
    (RAND), or random numbers (PIXEL), all normal with deviation 1. The area of each is a share of the picture from
    min_area to max_area, divided by their number; the logarithm of height / width is uniform between those of
    min_aspect and 1 / min_aspect. One that is not smaller than the picture on both sides is drawn again, at most 10
    times in all. Labels stay as they are.
    """

    def __init__(self, param: pb.RandomEraseParameter) -> None:
        if not 0 <= param.prob <= 1:
            raise DataError(f"random_erase_param.prob must be from 0 to 1, it is {param.prob:g}")
        if not 1 <= param.count <= _MOST:
            raise DataError(f"random_erase_param.count must be from 1 to {_MOST}, it is {param.count}")
        if not 0 <= param.min_area <= param.max_area <= 1:
            raise DataError(
                f"random_erase_param needs 0 <= min_area <= max_area <= 1, found {param.min_area:g} and "
                f"{param.max_area:g}"
            )
        if not 0 < param.min_aspect <= 1:
            raise DataError(f"random_erase_param.min_aspect must be in (0, 1], it is {param.min_aspect:g}")
        self._probability = param.prob
        self._mode = param.mode
        self._most = param.count
        self._area = param.min_area, param.max_area
        self._log_aspect = math.log(1 / param.min_aspect)

    @classmethod
    def of(cls, param: pb.TransformationParameter) -> RandomErase | None:
        """What a TransformationParameter asks for, or None."""
        return cls(param.random_erase_param) if param.HasField("random_erase_param") else None

    def __call__(self, rows: np.ndarray, generator: np.random.Generator) -> None:
        """Overwrite rectangles of (H, W, C) float32 in place."""
        if generator.random() >= self._probability:
            return
        height, width, channels = rows.shape
        count = int(generator.integers(1, self._most + 1))
        for _ in range(count):
            size = self._size(height, width, count, generator)
            if size is None:
                continue
            top = int(generator.integers(0, height - size[0] + 1))
            left = int(generator.integers(0, width - size[1] + 1))
            rectangle = rows[top : top + size[0], left : left + size[1]]
            if self._mode == _Mode.PIXEL:
                rectangle[...] = generator.standard_normal(rectangle.shape, np.float32)
            elif self._mode == _Mode.RAND:
                rectangle[...] = generator.standard_normal(channels, np.float32)
            else:
                rectangle[...] = 0

    def _size(self, height: int, width: int, count: int, generator: np.random.Generator) -> tuple[int, int] | None:
        """(height, width) of one of `count` rectangles; None where none that was drawn is small enough."""
        for _ in range(_ATTEMPTS):
            area = generator.uniform(*self._area) * height * width / count
            aspect = math.exp(generator.uniform(-self._log_aspect, self._log_aspect))
            tall, wide = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if tall < height and wide < width:
                return tall, wide
        return None
