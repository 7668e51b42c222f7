"""`resize_param`: bring pictures of all sizes to one, and their boxes with them (SSD's im_transforms.cpp)."""

from __future__ import annotations

from typing import Any

import numpy as np

from caffecompat.data.augment.resampling import interpolation
from caffecompat.data.augment.sample import Sample
from caffecompat.data.per_channel import check_per_channel
from caffecompat.data.source import DataError
from caffecompat.formats.picture import check_size, resize_picture
from caffecompat.schema import pb

__all__ = ["Resize"]

_Mode: Any = pb.ResizeParameter


class Resize:
    """A ResizeParameter.

    WARP: to height x width whatever the aspect. FIT_SMALL_SIZE: the aspect is kept and the shorter side fits, so
    sizes differ. FIT_LARGE_SIZE_AND_PAD: the longer side fits, the rest is padded on both sides alike with
    pad_value, by mirroring, or by repeating the edge. One of the interp_modes is drawn each time; `prob` has no
    effect, as in the fork.
    """

    def __init__(self, param: pb.ResizeParameter, ignore_label: int = 255) -> None:
        """`ignore_label`: what a label picture is padded with."""
        self._ignore_label = ignore_label
        if not (param.height and param.width):
            raise DataError("resize_param needs a height and a width")
        check_size(param.height, param.width, "resize_param: the resized picture")
        self._mode = param.resize_mode
        self._height, self._width = param.height, param.width
        self._aspect = np.float32(param.width) / np.float32(param.height)
        self._interpolations = list(param.interp_mode) or [_Mode.LINEAR]
        self._pad_mode = param.pad_mode
        self._pad_value = list(param.pad_value)
        self._labeled_size = param.height_scale, param.width_scale

    @classmethod
    def of(cls, param: pb.TransformationParameter, ignore_label: int = 255) -> Resize | None:
        """What a TransformationParameter asks for, or None."""
        return cls(param.resize_param, ignore_label) if param.HasField("resize_param") else None

    @classmethod
    def to(cls, how: pb.ResizeParameter, height: int, width: int, ignore_label: int = 255) -> Resize:
        """To another size than the message says."""
        check_size(height, width, "the resized picture")
        param = pb.ResizeParameter()
        param.CopyFrom(how)
        param.height, param.width = height, width
        return cls(param, ignore_label)

    @property
    def choices(self) -> int:
        """Among how many interpolations is drawn."""
        return len(self._interpolations)

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        return self.chosen(sample, int(generator.integers(self.choices)) if self.choices > 1 else 0)

    def chosen(self, sample: Sample, choice: int) -> Sample:
        """Resize a sample, its label picture by nearest neighbor; `choice` is a number of `choices`."""
        boxes = None if sample.boxes is None else self.boxes(sample.boxes, *sample.size)
        label = None if sample.label is None else self.label(sample.label)
        return sample._replace(picture=self.picture(sample.picture, choice), label=label).with_boxes(boxes)

    def picture(self, picture: np.ndarray, choice: int = 0) -> np.ndarray:
        """Resize (H, W, C); `choice` is a number of `choices`."""
        height, width = self._fitted(*picture.shape[:2])
        resized = resize_picture(picture, height, width, interpolation=interpolation(self._interpolations[choice]))
        return self._padded(resized, self._pad_value)

    def label(self, label: np.ndarray) -> np.ndarray:
        """Resize a label picture (H, W, 1)."""
        resized = resize_picture(label, *self._fitted(*label.shape[:2]), nearest=True)
        return self._padded(resized, [self._ignore_label])

    def _fitted(self, height: int, width: int) -> tuple[int, int]:
        """The size before padding."""
        if self._mode == _Mode.WARP:
            return self._height, self._width
        fitted = self._by_aspect(height, width)
        if 0 in fitted:
            raise DataError(f"a picture of {height}x{width} is too thin for resize_param")
        return fitted

    def _by_aspect(self, height: int, width: int) -> tuple[int, int]:
        aspect = np.float32(width) / np.float32(height)
        wide = aspect > self._aspect
        if (self._mode == _Mode.FIT_LARGE_SIZE_AND_PAD) == bool(wide):
            return int(np.float32(self._width) / aspect), self._width
        return self._height, int(aspect * np.float32(self._height))

    def _padded(self, picture: np.ndarray, values: list[float]) -> np.ndarray:
        if self._mode != _Mode.FIT_LARGE_SIZE_AND_PAD:
            return picture
        import cv2

        height, width, channels = picture.shape
        down, right = self._height - height, self._width - width
        if values:
            check_per_channel(values, channels, "resize_param.pad_value")
        border = {
            _Mode.CONSTANT: cv2.BORDER_CONSTANT,
            _Mode.MIRRORED: cv2.BORDER_REFLECT_101,
            _Mode.REPEAT_NEAREST: cv2.BORDER_REPLICATE,
        }[self._pad_mode]
        value = values * channels if len(values) == 1 else values
        padded = cv2.copyMakeBorder(
            picture, down // 2, down - down // 2, right // 2, right - right // 2, border, value=value or 0
        )
        return padded.reshape(self._height, self._width, channels)

    def boxes(self, boxes: np.ndarray, height: int, width: int) -> np.ndarray:
        """Where (G, 4) boxes of a picture of that size lie in the resized one, in units of it.

        The fork pads by fractions of pixels here and by whole ones in the picture.
        """
        if self._mode != _Mode.FIT_LARGE_SIZE_AND_PAD:
            return boxes.clip((0, 0, -np.inf, -np.inf), (np.inf, np.inf, 1, 1)).astype(np.float32)
        aspect = np.float32(width) / np.float32(height)
        share = np.ones(2, np.float32)  # of the padded picture's width and height that the picture takes
        if aspect > self._aspect:
            share[1] = self._aspect / aspect
        else:
            share[0] = aspect / self._aspect
        offset = (1 - share) / 2
        low = offset + np.maximum(boxes[:, :2] * share, 0)
        high = offset + np.minimum(boxes[:, 2:] * share, 1)
        return np.concatenate([low, high], 1)

    def extrapolated(self, boxes: np.ndarray, height: int, width: int, window: np.ndarray) -> np.ndarray:
        """Boxes in units of height_scale x width_scale pixels, where FIT_SMALL_SIZE gives these; others unchanged.

        Args:
            height, width: of the picture before resizing.
            window: the crop (4,) in units of the resized picture.
        """
        down, right = self._labeled_size
        if not (down and right) or self._mode != _Mode.FIT_SMALL_SIZE:
            return boxes
        aspect = np.float32(width) / np.float32(height)
        size = np.array([self._width, self._height], np.float32)
        if aspect < self._aspect:
            size[1] = size[0] / aspect
        else:
            size[0] = size[1] * aspect
        factors = size * (window[2:] - window[:2]) / np.array([right, down], np.float32)
        if (factors < 1).any():
            raise DataError("resize_param's height_scale and width_scale are larger than the cropped picture")
        stretched: np.ndarray = boxes * np.tile(factors, 2)
        return stretched
