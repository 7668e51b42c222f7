"""Boxes of objects: (G, 4) float32 arrays of xmin, ymin, xmax, ymax in units of the picture (SSD's bbox_util.cpp)."""

from __future__ import annotations

import numpy as np

from caffecompat.schema import pb

__all__ = ["FULL", "areas", "centers_inside", "coverage", "emitted", "intersections", "jaccard", "mirrored", "project"]

FULL = np.array([0, 0, 1, 1], np.float32)  # the whole picture


def areas(boxes: np.ndarray) -> np.ndarray:
    """(...) areas of (..., 4) boxes; 0 for those turned inside out."""
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    area: np.ndarray = sides[..., 0] * sides[..., 1]
    return area


def intersections(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(A, B) areas that (A, 4) and (B, 4) boxes share."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    sides = np.maximum(high - low, 0)
    area: np.ndarray = sides[..., 0] * sides[..., 1]
    return area


def jaccard(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(A, B) intersections over unions; 0 for boxes that do not meet."""
    shared = intersections(first, second)
    union = areas(first)[:, None] + areas(second)[None] - shared
    overlap: np.ndarray = np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)
    return overlap


def coverage(covered: np.ndarray, covering: np.ndarray) -> np.ndarray:
    """(A, B) shares of the `covered` (A, 4) boxes that lie in each of `covering` (B, 4)."""
    shared = intersections(covered, covering)
    whole = np.broadcast_to(areas(covered)[:, None], shared.shape)
    share: np.ndarray = np.divide(shared, whole, out=np.zeros_like(shared), where=shared > 0)
    return share


def emitted(boxes: np.ndarray, window: np.ndarray, constraint: pb.EmitConstraint) -> np.ndarray:
    """(G,) which boxes an EmitConstraint lets through a crop to `window` (4,): by center, or by the share inside."""
    if constraint.emit_type == pb.EmitConstraint.MIN_OVERLAP:
        enough: np.ndarray = coverage(boxes, window[None])[:, 0] > np.float32(constraint.emit_overlap)
        return enough
    centered: np.ndarray = centers_inside(boxes, window[None])[0]
    return centered


def centers_inside(boxes: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """(W, G) which of (G, 4) boxes have their center in which of (W, 4) windows, the edges included."""
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside: np.ndarray = ((centers >= windows[:, None, :2]) & (centers <= windows[:, None, 2:])).all(2)
    return inside


def project(boxes: np.ndarray, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes in units of `window` (4,), cut off at its edges, and (G,) which of them still have an area."""
    meets = ((boxes[:, :2] < window[2:]) & (boxes[:, 2:] > window[:2])).all(1)
    size = window[2:] - window[:2]
    projected = ((boxes.reshape(-1, 2, 2) - window[:2]) / size).reshape(-1, 4).clip(0, 1)
    return projected, meets & (areas(projected) > 0)


def mirrored(boxes: np.ndarray) -> np.ndarray:
    """Left and right exchanged."""
    turned: np.ndarray = boxes.copy()
    turned[:, 0], turned[:, 2] = 1 - boxes[:, 2], 1 - boxes[:, 0]
    return turned
