"""Jacinto's resizing by chance: `img_rand_resize_lower` and its companions in `transform_param` (NVCaffe 0.17)."""

from __future__ import annotations

import numpy as np

from caffecompat.data.augment.sample import Sample
from caffecompat.data.source import DataError
from caffecompat.formats.picture import resize_picture
from caffecompat.schema import pb

__all__ = ["RandomResize"]

_RANGES = ("rand_resize_ratio", "vertical_stretch", "horizontal_stretch")


class RandomResize:
    """The shorter side becomes a whole number in [lower, upper] (or stays, without these), the aspect is kept;
    then the longer side is the shorter one times a ratio, if one is drawn, and both sides are stretched, each by its
    own factor. Neither side becomes less than the crop, nor, without `allow_upscale`, more than it was.
    """

    def __init__(self, param: pb.TransformationParameter) -> None:
        self._sizes = param.img_rand_resize_lower, param.img_rand_resize_upper
        if bool(self._sizes[0]) != bool(self._sizes[1]) or self._sizes[0] > self._sizes[1]:
            raise DataError(
                f"transform_param needs 0 < img_rand_resize_lower <= img_rand_resize_upper, found {self._sizes[0]} "
                f"and {self._sizes[1]}"
            )
        self._ratio, self._down, self._right = (
            (getattr(param, name + "_lower"), getattr(param, name + "_upper")) for name in _RANGES
        )
        for name, (least, most) in zip(_RANGES, (self._ratio, self._down, self._right), strict=True):
            if least > most > 0:
                raise DataError(f"transform_param: expected {name}_lower <= {name}_upper, found {least:g} and {most:g}")
        self._least = param.crop_size
        self._upscale = param.allow_upscale
        self._shrinking, self._growing = param.interpolation_algo_down, param.interpolation_algo_up

    @classmethod
    def of(cls, param: pb.TransformationParameter) -> RandomResize | None:
        """What a TransformationParameter asks for, or None."""
        names = [f"{name}_{side}" for name in ("img_rand_resize", *_RANGES) for side in ("lower", "upper")]
        return cls(param) if any(param.HasField(name) for name in names) else None

    def size(self, height: int, width: int, generator: np.random.Generator) -> tuple[int, int]:
        """A new (height, width)."""
        lower, upper = self._sizes
        short = int(generator.integers(lower, upper + 1)) if lower else min(height, width)
        tall, wide = short * height / min(height, width), short * width / min(height, width)
        if self._ratio[0] >= 1 and self._ratio[1] > 1:
            ratio = generator.uniform(*self._ratio)
            if wide > tall or (wide == tall and generator.integers(2)):
                wide = tall * ratio
            else:
                tall = wide * ratio
        if min(self._down) > 0:
            tall *= generator.uniform(*self._down)
        if min(self._right) > 0:
            wide *= generator.uniform(*self._right)
        new = (max(self._least, int(tall + 0.5)), max(self._least, int(wide + 0.5)))
        return new if self._upscale else (min(new[0], height), min(new[1], width))

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """Resize: NEAREST (interpolation_algo_down) where neither side grows, else CUBIC (.._up); labels by nearest."""
        height, width = sample.size
        new = self.size(height, width, generator)
        shrinks = new[0] <= height and new[1] <= width
        picture = resize_picture(sample.picture, *new, interpolation=self._shrinking if shrinks else self._growing)
        label = None if sample.label is None else resize_picture(sample.label, *new, nearest=True)
        return sample._replace(picture=picture, label=label)
