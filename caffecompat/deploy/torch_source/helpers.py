"""Layers of Caffe that torch has no module for, written into exported files as they stand here.

Each stands on torch alone, and on those of its file that `NEEDS` names; nothing else of this package may be used.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "BatchStatisticsNorm",
    "BiasedEmbedding",
    "ChannelAffine",
    "L2Norm",
    "MeanVarianceNorm",
    "WithinChannelNorm",
    "arg_max",
    "largest",
    "to_fixed_point",
]

NEEDS: dict[str, tuple[str, ...]] = {}


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


class BatchStatisticsNorm(nn.Module):
    """Batch normalization of (N, C, ...) by the batch's own statistics, at inference too.

    The axes are all but the channels. With statistics 1 or 2 it also returns the mean, or mean and
    variance, each (1, C, 1, ...).
    """

    def __init__(
        self,
        channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        axes: tuple[int, ...] = (0, 2, 3),
        statistics: int = 0,
    ) -> None:
        super().__init__()
        self.eps, self.axes, self.statistics = eps, axes, statistics
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        mean = x.mean(self.axes, keepdim=True)
        x = x - mean
        variance = x.square().mean(self.axes, keepdim=True)
        x = x * (variance + self.eps).rsqrt()
        if self.weight is not None and self.bias is not None:
            x = torch.addcmul(self.bias.view_as(mean), x, self.weight.view_as(mean))
        return (x, mean, variance)[: self.statistics + 1] if self.statistics else x


class BiasedEmbedding(nn.Embedding):
    """An embedding with a bias, the same for all rows."""

    def __init__(self, rows: int, size: int) -> None:
        super().__init__(rows, size)
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, index: Tensor) -> Tensor:
        return super().forward(index) + self.bias


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


class WithinChannelNorm(nn.Module):
    """Local response normalization over size x size pixels of each channel."""

    def __init__(self, size: int, alpha: float, beta: float) -> None:
        super().__init__()
        self.size, self.alpha, self.beta = size, alpha, beta

    def forward(self, x: Tensor) -> Tensor:
        squares = F.avg_pool2d(x.square(), self.size, stride=1, padding=self.size // 2)
        return x * (squares * self.alpha + 1).pow(-self.beta)


class MeanVarianceNorm(nn.Module):
    """Subtract the mean and, with divide, divide by standard deviation + eps; of each plane or each whole item."""

    def __init__(self, whole_item: bool = False, divide: bool = True, eps: float = 1e-9) -> None:
        super().__init__()
        self.whole_item, self.divide, self.eps = whole_item, divide, eps

    def forward(self, x: Tensor) -> Tensor:
        axes = tuple(range(1 if self.whole_item else 2, x.dim()))
        if not axes:  # one value a channel is its own mean
            return x - x
        x = x - x.mean(axes, keepdim=True)
        return x / (x.square().mean(axes, keepdim=True).sqrt() + self.eps) if self.divide else x


def arg_max(x: Tensor, axis: int) -> Tensor:
    """Index, as a float, of the greatest value along an axis, which stays; of equal ones the last."""
    return (x.shape[axis] - 1 - x.flip(axis).argmax(axis, keepdim=True)).to(x.dtype)


def largest(x: Tensor, count: int, axis: int) -> tuple[Tensor, Tensor]:
    """Indices, as floats, and values of the greatest along an axis, greatest first; of equal ones the last first."""
    values, index = x.flip(axis).sort(dim=axis, descending=True, stable=True)
    index = x.shape[axis] - 1 - index
    return index.narrow(axis, 0, count).to(x.dtype), values.narrow(axis, 0, count)


def to_fixed_point(x: Tensor, position: int, bits: int) -> Tensor:
    """The nearest multiples of 2^-position that so many signed bits hold; halves go up."""
    if position >= 32767:  # the position of a tensor of zeros
        return torch.zeros_like(x)
    step, half = 2.0**-position, 2.0 ** (bits - 1)
    whole = (x / step).floor()
    whole = whole + (x / step - whole >= 0.5).to(x.dtype)
    return whole.clamp(-half, half - 1) * step
