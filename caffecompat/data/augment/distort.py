"""`distort_param`: random brightness, contrast, saturation, hue and channel order."""

from __future__ import annotations

import numpy as np

from caffecompat.data.augment.color_jitter import ColorJitter
from caffecompat.data.augment.sample import Sample
from caffecompat.data.source import DataError
from caffecompat.schema import pb

__all__ = ["Distortion"]

_MOST = 1e6  # of a field, so that no product is infinite


class Distortion:
    """A DistortionParameter, in the meaning of its mode: SSD's or torchvision's. Labels stay as they are."""

    def __init__(self, param: pb.DistortionParameter) -> None:
        for field, value in param.ListFields():
            if value < 0 and not field.name.endswith(("_prob", "_upper")):
                raise DataError(f"distort_param.{field.name} must not be negative, it is {value:g}")
            if not value <= _MOST:
                raise DataError(f"distort_param.{field.name} must be a number of at most {_MOST:g}, it is {value:g}")
        jitters = param.mode == pb.DistortionParameter.TORCHVISION
        self._colors: ColorJitter | _SsdDistortion = ColorJitter(param) if jitters else _SsdDistortion(param)

    @classmethod
    def of(cls, param: pb.TransformationParameter) -> Distortion | None:
        """What a TransformationParameter asks for, or None."""
        return cls(param.distort_param) if param.HasField("distort_param") else None

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        return sample._replace(picture=self.picture(sample.picture, generator))

    def picture(self, picture: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """A distorted (H, W, C) uint8 picture; the given one stays as it is."""
        if picture.dtype != np.uint8:
            raise DataError(f"distort_param needs pictures of 8 bits a channel; this one has {picture.dtype}")
        if self._colors.needs_color and picture.shape[2] != 3:
            raise DataError(
                f"distort_param's saturation, hue and random order need three channels; the picture has "
                f"{picture.shape[2]} (force_color: true)"
            )
        return self._colors.picture(picture, generator)


class _SsdDistortion:
    """Mode SSD (SSD's im_transforms.cpp).

    Brightness comes first and the order of the channels last; contrast comes before saturation and hue or after
    them, by the toss of a coin. Each is done with its own probability, on 8-bit values with saturation; hue is in
    OpenCV's units of two degrees and does not wrap around (the fork's, too, is cut off at 0).
    """

    def __init__(self, param: pb.DistortionParameter) -> None:
        for name in ("contrast", "saturation"):
            if getattr(param, name + "_prob") and getattr(param, name + "_upper") < getattr(param, name + "_lower"):
                raise DataError(f"distort_param.{name}_upper is less than {name}_lower")
        self._brightness = param.brightness_prob, -param.brightness_delta, param.brightness_delta
        self._contrast = param.contrast_prob, param.contrast_lower, param.contrast_upper
        self._saturation = param.saturation_prob, param.saturation_lower, param.saturation_upper
        self._hue = param.hue_prob, -param.hue_delta, param.hue_delta
        self._order = param.random_order_prob
        self.needs_color = max(param.saturation_prob, param.hue_prob, param.random_order_prob) > 0

    def picture(self, picture: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        contrast_first = generator.random() > 0.5
        offset = _amount(self._brightness, generator)
        if offset is not None:
            picture = _looked_up(picture, _table(1, offset))
        if contrast_first:
            picture = self._with_contrast(picture, generator)
        gain = _amount(self._saturation, generator)
        if gain is not None:
            picture = _in_hsv(picture, 1, _table(gain, 0))
        offset = _amount(self._hue, generator)
        if offset is not None:
            picture = _in_hsv(picture, 0, _table(1, offset))
        if not contrast_first:
            picture = self._with_contrast(picture, generator)
        if generator.random() < self._order:
            picture = np.ascontiguousarray(picture[:, :, generator.permutation(picture.shape[2])])
        return picture

    def _with_contrast(self, picture: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        gain = _amount(self._contrast, generator)
        return picture if gain is None or abs(gain - 1) <= 1e-3 else _looked_up(picture, _table(gain, 0))


def _amount(range_: tuple[float, float, float], generator: np.random.Generator) -> float | None:
    """A number between the last two with the probability of the first, else None."""
    if generator.random() >= range_[0]:
        return None
    return float(generator.uniform(range_[1], range_[2]))


def _table(gain: float, offset: float) -> np.ndarray:
    """value * gain + offset for 0..255, rounded and cut off."""
    table: np.ndarray = np.rint(np.arange(256, dtype=np.float32) * gain + offset)
    return table.clip(0, 255).astype(np.uint8)


def _looked_up(picture: np.ndarray, table: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.LUT(picture, table).reshape(picture.shape)


def _in_hsv(picture: np.ndarray, channel: int, table: np.ndarray) -> np.ndarray:
    """The table applied to one channel of hue, saturation, value."""
    import cv2

    hsv = cv2.cvtColor(picture, cv2.COLOR_BGR2HSV)
    cv2.insertChannel(cv2.LUT(cv2.extractChannel(hsv, channel), table), hsv, channel)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
