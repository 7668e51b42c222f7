"""Channels exchanged for resolution, and back."""

from torch import Tensor

__all__ = ["blocks_to_pixels", "darknet_reorg", "pixels_to_blocks"]


def blocks_to_pixels(x: Tensor, side: int) -> Tensor:
    """(N, side * side * C, H, W), the place in the block outermost, to (N, C, side * H, side * W)."""
    n, c, h, w = x.shape
    x = x.reshape(n, side, side, c // side**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(n, c // side**2, h * side, w * side)


def pixels_to_blocks(x: Tensor, side: int) -> Tensor:
    """(N, C, H, W) to (N, side * side * C, H / side, W / side), the place in the block outermost."""
    n, c, h, w = x.shape
    x = x.reshape(n, c, h // side, side, w // side, side).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(n, c * side**2, h // side, w // side)


def darknet_reorg(x: Tensor, side: int) -> Tensor:
    """YOLO's reorg, which reads the memory as (N, C / side^2, side * H, side * W) first."""
    n, c, h, w = x.shape
    blocks = pixels_to_blocks(x.reshape(n, c // side**2, h * side, w * side), side)
    return blocks.reshape(n, c * side**2, h // side, w // side)
