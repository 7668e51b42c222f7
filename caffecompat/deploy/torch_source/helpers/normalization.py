"""Normalizations in exported files that torch has no module for."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["BatchStatisticsNorm", "MeanVarianceNorm", "WithinChannelNorm"]


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
