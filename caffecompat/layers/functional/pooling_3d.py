"""Pooling over depth (time), height and width, as C3D has it (facebookarchive/C3D v1.0, pool3d_layer.cpp)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from caffecompat.layers.functional.pooling import LOWEST, Window

__all__ = ["average_pool_3d", "max_pool_3d"]


def average_pool_3d(x: Tensor, window: Window) -> Tensor:
    """Means over the windows of (N, C, L, H, W), pad counted as zeros, what lies beyond the pad not counted."""
    sums = F.avg_pool3d(window.cover(x, 0), window.kernel, window.stride, divisor_override=1)
    return sums / window.areas(x)


def max_pool_3d(x: Tensor, window: Window) -> Tensor:
    """Maxima over the windows of (N, C, L, H, W); the gradient goes to every value that equals its window's."""
    covered = window.cover(x, LOWEST)
    top = F.max_pool3d(covered, window.kernel, window.stride)
    if not (torch.is_grad_enabled() and x.requires_grad):
        return top
    for axis, (size, step) in enumerate(zip(window.kernel, window.stride, strict=True)):
        covered = covered.unfold(2 + axis, size, step)
    values = covered.flatten(5)
    largest = (values == top.detach()[..., None]).to(values.dtype)
    return top.detach() + ((values - values.detach()) * largest).sum(-1)
