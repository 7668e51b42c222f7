"""SSD's L2 normalization."""

from torch import Tensor

__all__ = ["l2_norm"]


def l2_norm(x: Tensor, weight: Tensor, eps: float = 1e-10, whole_item: bool = False) -> Tensor:
    """x / sqrt(sum of x^2 + eps) times a weight.

    Args:
        x: (N, C, ...).
        weight: (C), or () for all channels.
        whole_item: whether the sum is over the whole item, and not over the channels of each pixel.
    """
    axes = tuple(range(1, x.dim())) if whole_item else (1,)
    norm = (x.square().sum(axes, keepdim=True) + eps).sqrt()
    return x / norm * weight.reshape(-1, *[1] * (x.dim() - 2))
