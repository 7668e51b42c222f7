"""Batch normalization by the batches of all processes that train a net together."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["mean_of_all", "normalize_by_all_batches"]


def normalize_by_all_batches(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    group: dist.ProcessGroup | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """What `normalize_by_batch` gives for the batches of all processes of a group as one; they are of equal size.

    Gradients are those of the sum of the processes' losses.
    """
    axes = [axis for axis in range(x.dim()) if axis != 1]
    count = x.numel() // x.shape[1] * dist.get_world_size(group)
    mean = _sum_of_all(x.sum(axes, keepdim=True), group) / count
    made = x - mean
    variance = _sum_of_all(made.square().sum(axes, keepdim=True), group) / count
    made = made * (variance + eps).rsqrt()
    if weight is not None and bias is not None:
        made = torch.addcmul(bias.view_as(mean), made, weight.view_as(mean))
    return made, mean.detach(), variance.detach()


def mean_of_all(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    """The mean of all processes' tensors, without gradients."""
    total = x.detach().clone()
    dist.all_reduce(total, group=group)
    return total / group.size()


class _SumOfAll(torch.autograd.Function):
    """The sum of all processes' tensors; each depends on every one's, so that gradients are summed too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.group = group
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=ctx.group)
        return total, None


def _sum_of_all(x: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    total: Tensor = _SumOfAll.apply(x, group)
    return total
