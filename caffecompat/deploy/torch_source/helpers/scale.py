"""Scale and Bias in exported files."""

import torch
from torch import Tensor, nn

__all__ = ["ChannelAffine"]


class ChannelAffine(nn.Module):
    """x * weight + bias over some axes; a missing weight is 1, a missing bias 0."""

    def __init__(self, shape: tuple[int, ...], weight: bool = True, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape)) if weight else None
        self.bias = nn.Parameter(torch.zeros(shape)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        if self.weight is not None and self.bias is not None:
            return torch.addcmul(self.bias, x, self.weight)
        x = x if self.weight is None else x * self.weight
        return x if self.bias is None else x + self.bias
