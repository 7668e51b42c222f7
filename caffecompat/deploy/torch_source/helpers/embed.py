"""Embed in exported files where it has a bias."""

import torch
from torch import Tensor, nn

__all__ = ["BiasedEmbedding"]


class BiasedEmbedding(nn.Embedding):
    """An embedding with a bias, the same for all rows."""

    def __init__(self, rows: int, size: int) -> None:
        super().__init__(rows, size)
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, index: Tensor) -> Tensor:
        return super().forward(index) + self.bias
