"""Interp in exported files."""

import torch.nn.functional as F
from torch import Tensor

__all__ = ["resize_by_corners"]


def resize_by_corners(x: Tensor, shrink: int = 1, zoom: int = 1) -> Tensor:
    """Bilinear resizing to ((in - 1) / shrink) * zoom + 1 pixels each way; corners stay corners."""
    size = [(length - 1) // shrink * zoom + 1 for length in x.shape[2:]]
    return F.interpolate(x, size, mode="bilinear", align_corners=True)
