"""Pictures pulled along a flow field, as FlowNet2 does."""

import torch
from torch import Tensor

__all__ = ["flow_warp"]


def flow_warp(image: Tensor, flow: Tensor, fill: float = 0.0) -> Tensor:
    """The image at (x + flow_x, y + flow_y) for each pixel (x, y), between its four neighbors.

    Args:
        image: (N, C, H, W).
        flow: (N, 2, H, W), x and then y, in pixels.
        fill: the value where a place is left of or above the first pixel, or a whole pixel past the last one.

    Returns:
        (N, C, H, W). Past the center of the last column or row that one is repeated.
    """
    items, channels, height, width = image.shape
    flow = flow.to(torch.promote_types(flow.dtype, torch.float32))
    x = torch.arange(width, dtype=flow.dtype, device=flow.device) + flow[:, 0]
    y = torch.arange(height, dtype=flow.dtype, device=flow.device)[:, None] + flow[:, 1]
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    x, y = (torch.where(inside, place, 0.0) for place in (x, y))
    left, top = x.detach().floor(), y.detach().floor()
    right, bottom = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    across, down = ((x - left)[:, None], (y - top)[:, None])
    pixels = image.flatten(2)

    def at(row: Tensor, column: Tensor) -> Tensor:
        places = (row * width + column).long().flatten(1)[:, None].expand(-1, channels, -1)
        return pixels.gather(2, places).view(items, channels, height, width)

    upper = (1 - across) * at(top, left) + across * at(top, right)
    lower = (1 - across) * at(bottom, left) + across * at(bottom, right)
    warped = (1 - down) * upper + down * lower
    return torch.where(inside[:, None], warped, fill).to(image.dtype)
