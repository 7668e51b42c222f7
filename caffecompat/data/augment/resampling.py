"""Cutting, resizing and padding of a sample: picture, label picture and boxes by one geometry."""

from __future__ import annotations

from typing import Any

import numpy as np

from caffecompat.data.augment.sample import Sample
from caffecompat.formats.picture import check_size, resize_picture
from caffecompat.schema import pb

__all__ = ["interpolation", "padded", "part_of", "resized"]

_Mode: Any = pb.ResizeParameter


def interpolation(mode: int) -> int:
    """OpenCV's flag of an Interp_mode."""
    import cv2

    return {
        _Mode.LINEAR: cv2.INTER_LINEAR,
        _Mode.AREA: cv2.INTER_AREA,
        _Mode.NEAREST: cv2.INTER_NEAREST,
        _Mode.CUBIC: cv2.INTER_CUBIC,
        _Mode.LANCZOS4: cv2.INTER_LANCZOS4,
    }[mode]


def resized(sample: Sample, height: int, width: int, mode: int) -> Sample:
    """The sample at another size, its label picture by nearest neighbor; boxes are in units of the picture.

    Args:
        mode: a ResizeParameter.Interp_mode, of the picture.
    """
    picture = resize_picture(sample.picture, height, width, interpolation=interpolation(mode))
    label = None if sample.label is None else resize_picture(sample.label, height, width, nearest=True)
    return sample._replace(picture=picture, label=label)


def part_of(
    sample: Sample, top: int, left: int, height: int, width: int, emit: pb.EmitConstraint | None = None
) -> Sample:
    """A part of the sample; `emit` says which objects stay, beside those without an area."""
    rows, columns = slice(top, top + height), slice(left, left + width)
    whole = np.array(sample.size[::-1] * 2, np.float32)
    window = np.array([left, top, left + width, top + height], np.float32) / whole
    label = None if sample.label is None else sample.label[rows, columns]
    picture = sample.picture[rows, columns]
    return sample._replace(picture=picture, label=label, height=None).seen_in(window, emit)


def padded(
    sample: Sample, offset: tuple[int, int], size: tuple[int, int], pixel: list[float], ignore_label: int
) -> Sample:
    """The sample at (top, left) `offset` on a canvas of (height, width) `size`.

    Args:
        pixel: of the canvas around the picture, one number a channel.
        ignore_label: of the canvas around the label picture.
    """
    if sample.size == size:
        return sample
    import cv2

    check_size(*size, "the padded picture")
    (top, left), (height, width) = offset, sample.size
    below, behind = size[0] - height - top, size[1] - width - left

    def widened(picture: np.ndarray, value: Any) -> np.ndarray:
        canvas = cv2.copyMakeBorder(picture, top, below, left, behind, cv2.BORDER_CONSTANT, value=value)
        return canvas.reshape(*size, picture.shape[2])

    label = None if sample.label is None else widened(sample.label, ignore_label)
    boxes = sample.boxes
    if boxes is not None:
        scale = np.array([width, height] * 2, np.float32)
        boxes = (boxes * scale + np.array([left, top] * 2, np.float32)) / np.array([size[1], size[0]] * 2, np.float32)
    return sample._replace(picture=widened(sample.picture, pixel), label=label).with_boxes(boxes)
