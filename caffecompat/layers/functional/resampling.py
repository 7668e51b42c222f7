"""Planes brought to another size: by the nearest value, between values, and back to where a pooling found them."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["corner_size", "nearest_indices", "resize_by_corners", "resize_nearest", "unpool"]


def resize_nearest(blob: Tensor, size: Sequence[int]) -> Tensor:
    """Resize the last two axes by taking value floor(i * in / out), rounded as OpenCV's INTER_NEAREST does."""
    height, width = blob.shape[-2:]
    if tuple(size) == (height, width):
        return blob
    if size[0] % height == 0 and size[1] % width == 0 and blob.is_floating_point():
        return F.interpolate(blob, tuple(size), mode="nearest")
    rows, columns = nearest_indices(height, size[0]), nearest_indices(width, size[1])
    blob = blob.index_select(-2, torch.tensor(rows, device=blob.device))
    return blob.index_select(-1, torch.tensor(columns, device=blob.device))


def nearest_indices(length: int, wanted: int) -> list[int]:
    """Which of `length` values each of the `wanted` takes."""
    # OpenCV inverts the ratio twice in double precision; a single division rounds otherwise for some sizes.
    step = 1.0 / (wanted / length)
    return [min(math.floor(i * step), length - 1) for i in range(wanted)]


def unpool(x: Tensor, places: Tensor, size: tuple[int, int]) -> Tensor:
    """Put each value where max pooling found it, in a plane of (height, width); zeros elsewhere.

    Args:
        x, places: (N, C, H, W); places count row by row through the new plane.
    """
    n, c = x.shape[:2]
    plane = x.new_zeros(n, c, size[0] * size[1])
    return plane.scatter(2, places.reshape(n, c, -1).long(), x.reshape(n, c, -1)).view(n, c, *size)


def corner_size(length: int, shrink: int = 1, zoom: int = 1) -> int:
    """How many pixels an axis of `length` has after shrinking and zooming, between corners that stay corners."""
    return (length - 1) // shrink * zoom + 1


def resize_by_corners(x: Tensor, shrink: int = 1, zoom: int = 1) -> Tensor:
    """Resize (N, C, H, W) bilinearly to ((in - 1) / shrink) * zoom + 1 pixels each way; corners stay corners."""
    size = [corner_size(length, shrink, zoom) for length in x.shape[2:]]
    if size == list(x.shape[2:]):
        return x
    return F.interpolate(x, size, mode="bilinear", align_corners=True)
