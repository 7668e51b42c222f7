"""Losses over distances: EuclideanLoss, L1Loss, SmoothL1Loss, ContrastiveLoss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from caffecompat.forks import Fork
from caffecompat.layers.layer import Context, LayerError, Shape
from caffecompat.layers.loss import LossLayer
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["ContrastiveLoss", "Distance", "EuclideanLoss", "L1Loss", "SmoothL1Loss"]


class Distance(LossLayer):
    """A loss of the difference of two bottoms with as many values; both get a gradient."""

    keeps_forward: ClassVar[bool] = True

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        for name, shape in zip(param.bottom[1:], bottom_shapes[1:], strict=True):
            if math.prod(shape) != math.prod(bottom_shapes[0]):
                raise LayerError(
                    f"{param.bottom[0]!r} of shape {tuple(bottom_shapes[0])} and {name!r} of shape {tuple(shape)} "
                    f"differ in count"
                )

    def needs_gradient(self, bottom_index: int) -> bool:
        return bottom_index < 2


@register("EuclideanLoss")
class EuclideanLoss(Distance):
    """Sum of squared differences / (2 N) (BVLC)."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return F.mse_loss(a, b.reshape(a.shape), reduction="sum") / (2 * a.shape[0])


@register("L1Loss")
class L1Loss(Distance):
    """Sum of absolute differences / N (Jacinto, Xilinx). FlowNet2's, another loss, is refused by its settings."""

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        if param.HasField("l1_loss_param"):
            raise LayerError("l1_loss_param is of FlowNet2's L1Loss, which trains flow and is not supported")
        super().__init__(param, bottom_shapes, context)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return F.l1_loss(a, b.reshape(a.shape), reduction="sum") / a.shape[0]


@register("SmoothL1Loss")
class SmoothL1Loss(Distance):
    """Sum of huber(weight (a - b)) / N, where huber(d) is d^2 / 2 for |d| < 1 and |d| - 1/2 beyond (SSD, Jacinto).

    The weight is bottom 2, where there is one. Other forms are recognized by their settings.

    Fast R-CNN's (rbgirshick/caffe-fast-rcnn, Xilinx): with `sigma` the parabola ends at 1 / sigma^2, and bottom 3,
    where there is one, weighs each result.

    R-FCN's (daijifeng001/caffe-rfcn): with a second top, or loss_param's `normalization` or `normalize`, which SSD's
    and Jacinto's do not look at, the sum is divided by that; the default is then VALID, which like FULL counts batch
    items x height x width. The second top (N, 1, H, W) has the sum over the channels of each position by itself, and
    passes no gradient back.
    """

    bottoms: ClassVar[tuple[int, int | None]] = (2, 4)
    tops: ClassVar[tuple[int, int | None]] = (0, 2)

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        sigma = param.smooth_l1_loss_param.sigma
        if sigma <= 0:
            raise LayerError(f"sigma {sigma:g} must be positive")
        self.end = 1 / sigma**2
        fork = context.fork
        plain = len(param.top) < 2 and (fork in (Fork.SSD, Fork.XILINX) or fork.is_nvcaffe)
        self.mode = "BATCH_SIZE" if plain else self._mode("VALID" if len(param.top) > 1 else "BATCH_SIZE")
        if len(param.top) > 1 and len(bottom_shapes[0]) > 4:
            raise LayerError(f"{param.bottom[0]!r} of shape {tuple(bottom_shapes[0])} has more than 4 axes")

    def forward(self, a: Tensor, b: Tensor, *weights: Tensor) -> Tensor | tuple[Tensor, ...]:
        difference = a - b.reshape(a.shape)
        if weights:
            difference = difference * weights[0].detach().reshape(a.shape)
        losses = F.smooth_l1_loss(difference, torch.zeros_like(difference), reduction="none", beta=self.end)
        if len(weights) == 2:
            losses = losses * weights[1].detach().reshape(a.shape)
        loss = self.normalized(losses.sum(), self.mode, a.shape[0], a.shape[0] * math.prod(a.shape[2:]))
        if self.top_count == 1:
            return loss
        planes = losses.detach().reshape(*a.shape, *[1] * (4 - a.dim()))
        return loss, planes.sum(1, keepdim=True)


class _Contrast(torch.autograd.Function):
    """The sum over pairs that ContrastiveLoss halves, as a function of their difference (N, C).

    Caffe's gradient of the margin term divides by distance + 1e-4, which autograd
    would not (and would give NaN where a pair coincides).
    """

    @staticmethod
    def forward(ctx: Any, difference: Tensor, similar: Tensor, margin: float, legacy: bool) -> Tensor:
        squared = difference.square().sum(1)
        if legacy:
            apart = (margin - squared).clamp(min=0)
            slope = -(apart > 0).to(squared.dtype)
        else:
            distance = squared.sqrt()
            gap = (margin - distance).clamp(min=0)
            apart, slope = gap.square(), -gap / (distance + 1e-4)
        ctx.save_for_backward(difference, torch.where(similar, torch.ones_like(slope), slope))
        return torch.where(similar, squared, apart).sum()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        difference, slope = ctx.saved_tensors
        return 2 * grad * slope.unsqueeze(1) * difference, None, None, None


@register("ContrastiveLoss")
class ContrastiveLoss(LossLayer):
    """Pulls similar pairs together and pushes others apart: sum / (2 N) of d^2 or max(margin - d, 0)^2 (BVLC).

    Bottoms: two feature blobs (N, C), and whether pair n is similar (N), not 0 or 0. With
    legacy_version the second term is max(margin - d^2, 0).
    """

    judges_all: ClassVar[bool] = True
    keeps_forward: ClassVar[bool] = True
    bottoms: ClassVar[tuple[int, int | None]] = (3, 3)

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        a, b, similar = map(tuple, bottom_shapes)
        if math.prod(a) != math.prod(b):
            raise LayerError(f"the two features must have as many values: shapes {a} and {b}")
        for shape in (a, b):
            if any(size != 1 for size in shape[2:]):
                raise LayerError(f"a feature must be a vector, (N, C) or (N, C, 1, 1), its shape is {shape}")
        if math.prod(similar) != a[0]:
            raise LayerError(f"{a[0]} pairs need as many similarity values, the third bottom has shape {similar}")
        p = param.contrastive_loss_param
        self.margin, self.legacy = p.margin, p.legacy_version

    def needs_gradient(self, bottom_index: int) -> bool:
        return bottom_index < 2

    def forward(self, a: Tensor, b: Tensor, similar: Tensor) -> Tensor:
        difference = (a - b.reshape(a.shape)).reshape(a.shape[0], -1)
        pairs = similar.detach().flatten().to(torch.int64) != 0
        total: Tensor = _Contrast.apply(difference, pairs, self.margin, self.legacy)
        return total / (2 * a.shape[0])
