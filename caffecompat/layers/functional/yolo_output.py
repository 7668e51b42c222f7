"""Boxes of YOLO v2 and v3."""

import torch
from torch import Tensor

__all__ = ["yolo_boxes"]


def yolo_boxes(blob: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What a map says of the boxes in each of its cells.

    Args:
        blob: (N, B * (5 + C), H, W); of each box x and y within the cell (before the sigmoid), logarithms of the
            factors of width and height, objectness (before the sigmoid), C class scores.
        sizes: (B, 2), width and height of each box in units of the picture.

    Returns:
        Corners (N, H, W, B, 4) in units of the picture, objectness (N, H, W, B), and class scores (N, H, W, B, C).
    """
    items, _, rows, columns = blob.shape
    values = blob.reshape(items, len(sizes), -1, rows, columns).permute(0, 3, 4, 1, 2)
    y = torch.arange(rows, device=blob.device, dtype=blob.dtype)
    x = torch.arange(columns, device=blob.device, dtype=blob.dtype)
    cell = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)[:, :, None]
    center = (cell + values[..., :2].sigmoid()) / values.new_tensor([columns, rows])
    half = values[..., 2:4].exp() * sizes / 2
    return torch.cat([center - half, center + half], -1), values[..., 4].sigmoid(), values[..., 5:]
