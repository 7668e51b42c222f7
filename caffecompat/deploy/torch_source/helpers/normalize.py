"""Normalize in exported files."""

import torch
from torch import Tensor, nn

__all__ = ["L2Norm"]


class L2Norm(nn.Module):
    """x / sqrt(sum of x^2 + eps) times a weight; the sum is over the channels, or over the whole item."""

    def __init__(self, channels: int, eps: float = 1e-10, whole_item: bool = False) -> None:
        super().__init__()
        self.eps, self.whole_item = eps, whole_item
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        axes = tuple(range(1, x.dim())) if self.whole_item else (1,)
        weight = self.weight.view(-1, *[1] * (x.dim() - 2))
        return x / (x.square().sum(axes, keepdim=True) + self.eps).sqrt() * weight
