"""FocalLoss: cross entropy that counts well scored samples less."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from caffecompat.layers.class_scores import check_label_count, class_index, softmax
from caffecompat.layers.layer import Context, LayerError, Shape
from caffecompat.layers.loss import AtLeast, LossLayer
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["FocalLoss"]


@register("FocalLoss")
class FocalLoss(LossLayer):
    """Sum of alpha (1 - p)^gamma x -log(max(p, FLT_MIN)), p the softmax of the label's score along softmax_param.axis.

    After zimenglan-sysu-512/Focal-Loss, its GPU code. Bottoms and tops as those of SoftmaxWithLoss; divided by
    loss_param.normalization, default VALID. The gradient is finite where p is 1 (with a gamma of 1 or more), unlike
    there. Its `type` LINEAR, which it names but does not compute, is refused. Losses of the same name on the sigmoid,
    with a target for each score, are not this one.
    """

    deploy_head: ClassVar[str] = "Softmax"
    tops: ClassVar[tuple[int, int | None]] = (0, 2)

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        scores, labels = bottom_shapes
        self.axis = self.axis_index(param.softmax_param.axis, scores)
        check_label_count(scores, labels, self.axis)
        p = param.focal_loss_param
        if p.type != p.ORIGIN or p.HasField("beta"):
            raise LayerError(
                "focal_loss_param: type LINEAR, and beta with it, is computed by no known Caffe; use ORIGIN"
            )
        if p.gamma < 0:
            raise LayerError(f"focal_loss_param: gamma {p.gamma:g} must not be negative")
        self.alpha, self.gamma = p.alpha, p.gamma
        self.mode = self._mode("VALID")

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor | tuple[Tensor, ...]:
        check_label_count(scores.shape, labels.shape, self.axis)
        index, counted = class_index(self.param, labels, scores, self.axis, self.ignore)
        log_probability = softmax(scores, self.axis, F.log_softmax).gather(self.axis, index)
        at_least = AtLeast.apply(log_probability, math.log(torch.finfo(torch.float32).tiny))
        losses = -self.alpha * (-torch.expm1(log_probability)) ** self.gamma * at_least
        losses = losses if counted is None else losses * counted
        loss = self.normalized(losses.sum(), self.mode, scores.shape[0], index.numel(), counted)
        return loss if self.top_count == 1 else (loss, softmax(scores.detach(), self.axis))
