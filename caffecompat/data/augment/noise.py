"""`noise_param`: filters on a picture before it is cropped (SSD's im_transforms.cpp)."""

from __future__ import annotations

from typing import Any

import numpy as np

from caffecompat.data.augment.sample import Sample
from caffecompat.data.per_channel import check_per_channel
from caffecompat.data.source import DataError
from caffecompat.schema import pb

__all__ = ["Noise", "add_noise"]


class Noise:
    """A NoiseParameter; label pictures and boxes stay as they are."""

    def __init__(self, param: pb.NoiseParameter) -> None:
        self._param = param
        fraction = param.saltpepper_param.fraction
        if not 0 <= fraction <= 1:
            raise DataError(f"noise_param.saltpepper_param.fraction must be from 0 to 1, it is {fraction:g}")

    @classmethod
    def of(cls, param: pb.TransformationParameter) -> Noise | None:
        """What a TransformationParameter asks for, or None."""
        return cls(param.noise_param) if param.HasField("noise_param") else None

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        return sample._replace(picture=add_noise(sample.picture, self._param, generator))


def add_noise(picture: np.ndarray, param: pb.NoiseParameter, generator: np.random.Generator) -> np.ndarray:
    """Apply the filters that a NoiseParameter names, in the fork's order; `prob` has no effect, as there.

    Args:
        picture: (H, W, C) uint8; left as it is.

    Returns:
        (H, W, C), uint8 except for `convert_to_lab`, which gives float32 (the fork reads those floats as bytes).
    """
    import cv2

    color = picture.shape[2] == 3
    if param.decolorize and color:
        picture = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    if param.gauss_blur:
        picture = _deep(cv2.GaussianBlur(picture, (7, 7), 1.5))
    if param.hist_eq:
        picture = _on_brightness(picture, cv2.equalizeHist)
    if param.clahe:
        picture = _on_brightness(picture, cv2.createCLAHE(clipLimit=4).apply)
    if param.jpeg > 0:
        data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(min(param.jpeg, 100))])[1]
        picture = _deep(cv2.imdecode(data, cv2.IMREAD_COLOR if color else cv2.IMREAD_GRAYSCALE))
    if param.erode:
        picture = _deep(cv2.erode(picture, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))))
    if param.posterize:
        picture = picture // np.uint8(64) * np.uint8(64) + np.uint8(32)
    if param.inverse:
        picture = ~picture
    if param.saltpepper:
        picture = _salted(picture, param.saltpepper_param, generator)
    if param.convert_to_hsv:
        picture = cv2.cvtColor(_three(picture, "convert_to_hsv"), cv2.COLOR_BGR2HSV)
    if param.convert_to_lab:
        unit = _three(picture, "convert_to_lab").astype(np.float32) * np.float32(1 / 255)
        picture = cv2.cvtColor(unit, cv2.COLOR_BGR2Lab)
    return picture


def _deep(picture: Any) -> np.ndarray:
    """OpenCV drops the axis of a single channel."""
    deep: np.ndarray = picture if picture.ndim == 3 else picture[:, :, None]
    return deep


def _three(picture: np.ndarray, name: str) -> np.ndarray:
    if picture.shape[2] != 3:
        raise DataError(f"noise_param.{name} needs three channels; the picture has {picture.shape[2]}")
    return picture


def _on_brightness(picture: np.ndarray, change: Any) -> np.ndarray:
    """`change` on the luma of a color picture, or on the only channel."""
    import cv2

    if picture.shape[2] == 1:
        return _deep(change(picture[:, :, 0]))
    planes = cv2.cvtColor(picture, cv2.COLOR_BGR2YCrCb)
    planes[:, :, 0] = change(np.ascontiguousarray(planes[:, :, 0]))
    return cv2.cvtColor(planes, cv2.COLOR_YCrCb2BGR)


def _salted(picture: np.ndarray, param: pb.SaltPepperParameter, generator: np.random.Generator) -> np.ndarray:
    """`fraction` of the pixels (some drawn twice) set to `value`."""
    height, width, channels = picture.shape
    check_per_channel(param.value, channels, "noise_param.saltpepper_param.value")
    count = int(np.float32(param.fraction) * width * height)
    picture = picture.copy()
    rows, columns = generator.integers(0, (height, width), (count, 2)).T
    picture[rows, columns] = np.array(param.value, np.int64).astype(np.uint8)
    return picture
