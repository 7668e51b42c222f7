"""Focal losses: cross entropies that count well scored samples less."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from caffecompat.layers.functional.focal_loss import focal_losses, sigmoid_focal_losses
from caffecompat.layers.layer import Context, LayerError, Shape
from caffecompat.layers.loss import LossLayer
from caffecompat.layers.registry import register
from caffecompat.layers.softmax_loss import SoftmaxLossLayer, class_weights
from caffecompat.schema import pb

__all__ = ["FocalLoss", "SigmoidFocalLoss"]


@register("FocalLoss", "SoftmaxFocalLoss")
class FocalLoss(SoftmaxLossLayer):
    """Sum of alpha (1 - p)^gamma x -log(max(p, FLT_MIN)), p the softmax of the label's score along softmax_param.axis.

    After zimenglan-sysu-512/Focal-Loss, its GPU code, which first had it under the name SoftmaxFocalLoss. Bottoms,
    class weights, smoothing and shapes are those of SoftmaxWithLoss (see `SoftmaxLossLayer`), tops its first two;
    divided by loss_param.normalization, default VALID. The gradient is 0 where p is 1, unlike there. Its
    `type` LINEAR, which it names but does not compute, is refused.
    """

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        self.gamma, self.alpha = _gamma_and_alpha(param.focal_loss_param)

    def _losses(self, log_probability: Tensor) -> Tensor:
        return focal_losses(log_probability, self.gamma, self.alpha)


@register("SigmoidFocalLoss")
class SigmoidFocalLoss(LossLayer):
    """Sum of a (1 - q)^gamma x -log q, q the probability of the target by the sigmoid s: s for 1, 1 - s for 0.

    The paper's loss, under the type name of tfzhou/caffe and Caffe2, with focal_loss_param: a is alpha for the target 1
    and 1 - alpha for 0 (tfzhou/caffe has none: twice the loss of `alpha: 0.5`). Targets between 0 and 1 mix both.
    Bottoms: scores and targets, as many values (N, ...); targets that are ignore_label (cut to an integer) do not
    count. Two class weights, of 0 and of 1, multiply it: label_weights, or class_weighting with weight_by_label_freqs.
    Divided by loss_param.normalization, default BATCH_SIZE.
    """

    deploy_head: ClassVar[str] = "Sigmoid"
    class_weights: Tensor | None

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        scores, targets = bottom_shapes
        if math.prod(scores) != math.prod(targets):
            raise LayerError(f"scores of shape {tuple(scores)} and targets of {tuple(targets)} differ in count")
        self.gamma, self.alpha = _gamma_and_alpha(param.focal_loss_param)
        self.mode = self._mode("BATCH_SIZE")
        weights = class_weights(param.loss_param, context.fork)
        if weights and len(weights) != 2:
            raise LayerError(f"{len(weights)} class weights; it takes two, of the targets 0 and 1")
        self.register_buffer("class_weights", torch.tensor(weights) if weights else None, persistent=False)

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        targets = targets.detach().reshape(scores.shape).to(scores.dtype)
        counted = None if self.ignore is None else targets.to(torch.int64) != self.ignore
        if counted is not None:
            targets = targets.masked_fill(~counted, 0)
        losses = sigmoid_focal_losses(scores, targets, self.gamma, self.alpha)
        if self.class_weights is not None:
            zero, one = self.class_weights.to(scores.dtype)
            losses = losses * (zero * (1 - targets) + one * targets)
        if counted is not None:
            losses = losses * counted
        return self.normalized(losses.sum(), self.mode, scores.shape[0], scores.numel(), counted)


def _gamma_and_alpha(p: pb.FocalLossParameter) -> tuple[float, float]:
    if p.type != p.ORIGIN or p.HasField("beta"):
        raise LayerError("focal_loss_param: type LINEAR, and beta with it, is computed by no known Caffe; use ORIGIN")
    if not 0 <= p.gamma < math.inf:
        raise LayerError(f"focal_loss_param: gamma {p.gamma:g} must be a number of at least 0")
    if not math.isfinite(p.alpha):
        raise LayerError(f"focal_loss_param: alpha {p.alpha:g} must be a number")
    return p.gamma, p.alpha
