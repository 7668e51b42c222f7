"""`distort_param { mode: TORCHVISION }`: torchvision's ColorJitter (torchvision/transforms)."""

from __future__ import annotations

import numpy as np

from caffecompat.data.augment.color import adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation
from caffecompat.data.source import DataError
from caffecompat.schema import pb

__all__ = ["ColorJitter"]


class ColorJitter:
    """A DistortionParameter in mode TORCHVISION; (H, W, C) uint8, BGR or gray.

    ColorJitter(brightness=b, contrast=c, saturation=s, hue=h) is ``brightness_delta: b``, ``contrast_lower: 1 - c``
    (not below 0) and ``contrast_upper: 1 + c``, saturation likewise, and ``hue_delta: h``. The factor of each is
    uniform in its range (brightness from 1 - b, at least 0, to 1 + b), the four come in random order, and each has a
    probability of its own, which is 1 unless given. `random_order_prob` permutes the channels last, as in mode SSD.
    """

    def __init__(self, param: pb.DistortionParameter) -> None:
        brightness, hue = param.brightness_delta, param.hue_delta
        if hue > 0.5:
            raise DataError(
                f"distort_param.hue_delta is {hue:g}; with mode: TORCHVISION it is a share of the circle of hues, at "
                f"most 0.5 (18 of mode SSD is 0.1)"
            )
        self._ranges = {
            name: (low, high)
            for name, low, high in (
                ("brightness", max(0.0, 1 - brightness), 1 + brightness),
                ("contrast", param.contrast_lower, param.contrast_upper),
                ("saturation", param.saturation_lower, param.saturation_upper),
                ("hue", -hue, hue),
            )
            if _given(param, name)
        }
        self._probabilities = {name: _probability(param, name) for name in self._ranges}
        self._order = param.random_order_prob
        self.needs_color = "saturation" in self._ranges or "hue" in self._ranges or self._order > 0

    def picture(self, picture: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """A picture with other colors; the given one stays as it is."""
        names = list(self._ranges)
        for number in generator.permutation(len(names)).tolist():
            name = names[number]
            if generator.random() < self._probabilities[name]:
                picture = _OPERATIONS[name](picture, float(generator.uniform(*self._ranges[name])))
        if generator.random() < self._order:
            picture = np.ascontiguousarray(picture[:, :, generator.permutation(picture.shape[2])])
        return picture


_OPERATIONS = {
    "brightness": adjust_brightness,
    "contrast": adjust_contrast,
    "saturation": adjust_saturation,
    "hue": adjust_hue,
}
_RANGE_FIELDS = {
    "brightness": ("brightness_delta",),
    "contrast": ("contrast_lower", "contrast_upper"),
    "saturation": ("saturation_lower", "saturation_upper"),
    "hue": ("hue_delta",),
}


def _given(param: pb.DistortionParameter, name: str) -> bool:
    """Whether one of the four is asked for: it has a range, and a probability that is not 0."""
    return _probability(param, name) > 0 and any(param.HasField(field) for field in _RANGE_FIELDS[name])


def _probability(param: pb.DistortionParameter, name: str) -> float:
    field = name + "_prob"
    return float(getattr(param, field)) if param.HasField(field) else 1.0
