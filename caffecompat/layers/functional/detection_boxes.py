"""Boxes of SSD: corners (xmin, ymin, xmax, ymax) in units of the image; areas, overlaps, codes of location.

Rules: SSD's ``bbox_util.cpp``, which Jacinto and Xilinx share.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["areas", "decode_boxes", "encode_boxes", "jaccard", "outside"]


def areas(boxes: Tensor) -> Tensor:
    """Areas of boxes (..., 4); 0 where a box's maximum lies before its minimum."""
    width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    return width.clamp(min=0) * height.clamp(min=0)


def jaccard(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes (..., 4) and (..., 4), broadcast; 0 where they do not meet."""
    width = torch.minimum(a[..., 2], b[..., 2]).sub_(torch.maximum(a[..., 0], b[..., 0])).clamp_(min=0)
    height = torch.minimum(a[..., 3], b[..., 3]).sub_(torch.maximum(a[..., 1], b[..., 1])).clamp_(min=0)
    shared = width.mul_(height)
    # Boxes without area meet nobody; the least divisor only keeps 0 / 0 away.
    return shared / (areas(a) + areas(b) - shared).clamp_(min=torch.finfo(shared.dtype).tiny)


def outside(boxes: Tensor) -> Tensor:
    """Which coordinates (..., 4) lie outside the image."""
    return (boxes < 0) | (boxes > 1)


def _center_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    return (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]


def encode_boxes(code: str, priors: Tensor, boxes: Tensor) -> Tensor:
    """What a net should predict for `boxes` (..., 4) seen from `priors`, before the division by variances.

    CORNER: differences of corners. CORNER_SIZE: these over the prior's size. CENTER_SIZE: shift of the center over
    the prior's size, and logarithms of the ratios of width and height.
    """
    if code == "CORNER":
        return boxes - priors
    prior_center, prior_size = _center_size(priors)
    if code == "CORNER_SIZE":
        return (boxes - priors) / torch.cat([prior_size, prior_size], -1)
    center, size = _center_size(boxes)
    return torch.cat([(center - prior_center) / prior_size, (size / prior_size).log()], -1)


def decode_boxes(code: str, priors: Tensor, codes: Tensor) -> Tensor:
    """The boxes that `codes` (..., 4), already multiplied by the variances, mean at `priors`."""
    if code == "CORNER":
        return priors + codes
    prior_center, prior_size = _center_size(priors)
    if code == "CORNER_SIZE":
        return priors + codes * torch.cat([prior_size, prior_size], -1)
    center = codes[..., :2] * prior_size + prior_center
    half = codes[..., 2:].exp() * prior_size / 2
    return torch.cat([center - half, center + half], -1)
