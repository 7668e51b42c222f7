"""Boxes in the pixels of the picture they were found in: SSD's ``OutputBBox`` and its overlaps of such boxes."""

from __future__ import annotations

import numpy as np

from caffecompat.schema import pb

__all__ = ["pixel_areas", "pixel_boxes", "pixel_overlaps"]

Sizes = np.ndarray | int


def pixel_boxes(
    boxes: np.ndarray, height: Sizes, width: Sizes, resize: pb.ResizeParameter | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Scale boxes from units of the net's input to the pixels of the original pictures.

    Args:
        boxes: (K, 4) corners; what lies outside the picture is cut off.
        height, width: of the picture, or one a box.
        resize: the ResizeParameter by which pictures were brought to the net's input; None is warping.

    Returns:
        Corners (K, 4) float32, and areas (K) in which a box from 3 to 5 is 3 wide.
    """
    scale = np.stack(np.broadcast_arrays(width, height, width, height), -1).astype(np.float32)
    if resize is not None:
        if resize.resize_mode == resize.FIT_SMALL_SIZE and resize.height_scale and resize.width_scale:
            limits = np.array([resize.width_scale, resize.height_scale] * 2, np.float32)
            corners = np.clip(boxes * limits, 0, scale)
            return corners, _areas(corners, 0)
        if resize.resize_mode == resize.FIT_LARGE_SIZE_AND_PAD:
            boxes = _without_padding(boxes, height, width, resize)
    corners = np.clip(boxes, 0, 1).astype(np.float32) * scale
    return corners, pixel_areas(corners)


def _without_padding(boxes: np.ndarray, height: Sizes, width: Sizes, resize: pb.ResizeParameter) -> np.ndarray:
    """Boxes seen from the part of the net's input that the picture filled, the rest being padding."""
    full_w, full_h = np.float32(resize.width), np.float32(resize.height)
    aspect = np.asarray(width, np.float32) / np.asarray(height, np.float32)
    pad_h = np.maximum((full_h - full_w / aspect) / 2, 0) / full_h
    pad_w = np.maximum((full_w - full_h * aspect) / 2, 0) / full_w
    low, high = np.stack([pad_w, pad_h], -1), np.stack([1 - pad_w, 1 - pad_h], -1)
    moved = np.concatenate([(boxes[:, :2] - low) / (high - low), (boxes[:, 2:] - low) / (high - low)], 1)
    # A box wholly in the padding stays where it is, as in the original.
    apart = np.any((boxes[:, :2] >= high) | (boxes[:, 2:] <= low), axis=1)
    return np.where(apart[:, None], boxes, moved).astype(np.float32)


def pixel_areas(corners: np.ndarray) -> np.ndarray:
    """Areas (K) of boxes (K, 4) in pixels; one from 3 to 5 is 3 wide."""
    return _areas(corners, 1)


def _areas(corners: np.ndarray, more: int) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # an untrained net's boxes may be endless
        width, height = corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]
        return np.where((width < 0) | (height < 0), 0, (width + more) * (height + more))


def pixel_overlaps(a: np.ndarray, a_areas: np.ndarray | None, b: np.ndarray, b_areas: np.ndarray | None) -> np.ndarray:
    """Intersection over union of each of the boxes `a` (K, 4) with each of `b` (G, 4): (K, G) float32.

    Without areas boxes are in units of the image; with them, those of :func:`pixel_boxes`, in pixels, where two boxes
    that share an edge share a pixel, and by a quirk of SSD's two boxes far apart as well.
    """
    more = 0 if a_areas is None else 1
    if a_areas is None or b_areas is None:
        a_areas, b_areas = _areas(a, 0), _areas(b, 0)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    extent = np.where((high < low).any(-1, keepdims=True), 0, high - low) + np.float32(more)
    shared = extent[..., 0] * extent[..., 1]
    union = a_areas[:, None] + b_areas[None] - shared
    return np.where((extent > 0).all(-1), shared / np.where(union > 0, union, 1), 0).astype(np.float32)
