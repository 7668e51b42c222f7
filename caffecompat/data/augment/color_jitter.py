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
        if param.hue_delta > 0.5:
            raise DataError(
                f"distort_param.hue_delta is {param.hue_delta:g}; with mode: TORCHVISION it is a share of the circle, "
                f"at most 0.5 (18 of mode SSD is 0.1)"
            )
        self._ranges = {name: _range(param, name) for name in _FIELDS if _asked(param, name)}
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
_FIELDS = {
    "brightness": ["brightness_delta"],
    "contrast": ["contrast_lower", "contrast_upper"],
    "saturation": ["saturation_lower", "saturation_upper"],
    "hue": ["hue_delta"],
}


def _asked(param: pb.DistortionParameter, name: str) -> bool:
    """Whether one of the four is asked for: by its range, with a probability that is not 0."""
    missing = [field for field in _FIELDS[name] if not param.HasField(field)]
    chosen = param.HasField(name + "_prob") or missing != _FIELDS[name]
    if not (chosen and _probability(param, name)):
        return False
    if missing:
        raise DataError(f"distort_param has no {' and no '.join(missing)}, which {name} in mode TORCHVISION needs")
    return True


def _range(param: pb.DistortionParameter, name: str) -> tuple[float, float]:
    """Between what the factor of one of the four is, or the turn of the hues."""
    if name == "brightness":
        return max(0.0, 1 - param.brightness_delta), 1 + param.brightness_delta
    if name == "hue":
        return -param.hue_delta, param.hue_delta
    low, high = (getattr(param, field) for field in _FIELDS[name])
    if high < low:
        raise DataError(f"distort_param.{name}_upper is less than {name}_lower")
    return low, high


def _probability(param: pb.DistortionParameter, name: str) -> float:
    field = name + "_prob"
    return float(getattr(param, field)) if param.HasField(field) else 1.0
