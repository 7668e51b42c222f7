"""Values times a weight plus a bias."""

import torch
from torch import Tensor

__all__ = ["affine"]


def affine(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """x * weight + bias, where given; both broadcast to x."""
    if weight is None:
        return x if bias is None else x + bias
    return x * weight if bias is None else torch.addcmul(bias, x, weight)
