"""Region proposals of Faster R-CNN: anchors around every cell, moved and scaled as the net predicts."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["make_anchors", "proposal_boxes"]


def make_anchors(base: int, ratios: Sequence[float], scales: Sequence[float]) -> Tensor:
    """Boxes (xmin, ymin, xmax, ymax) around the pixels 0 to base - 1, one for each ratio and scale: (A, 4).

    For each ratio of height to width a box of the area base x base, its sides rounded, is made `scale` times as large;
    scales change fastest. A box from 3 to 5 is 3 wide.
    """
    ratio = torch.tensor(ratios, dtype=torch.float32)[:, None]
    scale = torch.tensor(scales, dtype=torch.float32)[None]
    width = ((base * base / ratio).sqrt() + 0.5).floor()
    height = (width * ratio + 0.5).floor()
    half = torch.stack([width * scale - 1, height * scale - 1], -1).reshape(-1, 2) / 2
    center = (base - 1) / 2
    return torch.cat([center - half, center + half], 1)


def proposal_boxes(anchors: Tensor, codes: Tensor, stride: tuple[int, int], sizes: Tensor) -> Tensor:
    """The boxes that the net proposes, cut at the border of the picture.

    Args:
        anchors: (A, 4), corners of the boxes around the cell at the top left.
        codes: (N, A * 4, H, W), of each anchor: shift of the center in widths and heights of the anchor, logarithms of
            the factors for width and height.
        stride: rows and columns of the picture from one cell to the next.
        sizes: (N, 2), height and width of each picture.

    Returns:
        (N, H, W, A, 4), corners (xmin, ymin, xmax, ymax) in pixels.
    """
    items, _, rows, columns = codes.shape
    codes = codes.reshape(items, -1, 4, rows, columns).permute(0, 3, 4, 1, 2)
    size = anchors[:, 2:] - anchors[:, :2] + 1
    y = torch.arange(rows, device=codes.device, dtype=codes.dtype) * stride[0]
    x = torch.arange(columns, device=codes.device, dtype=codes.dtype) * stride[1]
    shift = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)[:, :, None]
    center = codes[..., :2] * size + (shift + anchors[:, :2] + 0.5 * size)
    half = 0.5 * (codes[..., 2:].exp() * size)
    boxes = torch.cat([center - half, center + half], -1)
    limit = (sizes.flip(1) - 1).repeat(1, 2)[:, None, None, None]
    return torch.minimum(boxes, limit).clamp(min=0)
