"""SoftmaxWithLoss, and what losses of softmax probabilities share: hard and soft labels, class weights, smoothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from caffecompat.forks import Fork
from caffecompat.layers.class_scores import (
    check_label_count,
    check_shares,
    class_index,
    holds_shares,
    is_contiguous_along,
    softmax,
)
from caffecompat.layers.layer import Context, LayerError, Shape
from caffecompat.layers.loss import AtLeast, LossLayer
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["SoftmaxLossLayer", "SoftmaxWithLoss", "class_weights", "softmax_nll"]

# The least probability whose logarithm is taken is FLT_MIN (BVLC).
_LOG_LEAST = math.log(torch.finfo(torch.float32).tiny)


class _SoftmaxNLL(torch.autograd.Function):
    """Sum over positions of weight x -log(max(softmax(scores)[label], FLT_MIN)).

    The gradient is weight x (softmax - onehot) also where the limit holds, which
    autograd would give as 0. It is also what saves autograd's two extra passes
    over (N, C, H, W).
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor, index: Tensor, weight: Tensor | None, axis: int) -> Tensor:
        ctx.axis = ctx.along = axis
        if is_contiguous_along(scores, axis):
            scores, index = scores.movedim(axis, -1), index.movedim(axis, -1)
            weight = None if weight is None else weight.movedim(axis, -1)
            ctx.along = -1
        log_probability = F.log_softmax(scores, ctx.along)
        losses = log_probability.gather(ctx.along, index).clamp_(min=_LOG_LEAST).neg_()
        ctx.save_for_backward(log_probability, index, weight)
        return (losses if weight is None else losses * weight).sum()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        log_probability, index, weight = ctx.saved_tensors
        result = log_probability.exp()
        result.scatter_add_(ctx.along, index, result.new_full((), -1.0).expand(index.shape))
        result.mul_(grad if weight is None else weight * grad)
        return result.movedim(ctx.along, ctx.axis), None, None, None


def softmax_nll(scores: Tensor, index: Tensor, weight: Tensor | None = None, axis: int = 1) -> Tensor:
    """Sum of weight x -log(softmax(scores)[index]), with Caffe's gradient.

    Args:
        scores: (N, C, ...), classes along `axis`.
        index: int64, of the shape of `scores` but for 1 class.
        weight: of the shape of `index`.
    """
    total: Tensor = _SoftmaxNLL.apply(scores, index, weight, axis)
    return total


@dataclass(frozen=True)
class _Target:
    """The labels of a batch: class numbers or shares, and which positions count (None: all do).

    `index` is int64 and `counted` bool, both of the scores' shape with 1 on the class axis; `shares` of theirs.
    """

    index: Tensor | None
    shares: Tensor | None
    counted: Tensor | None


class SoftmaxLossLayer(LossLayer):
    """A loss of the softmax p of scores along softmax_param.axis.

    Bottoms: scores (N, C, ...), and labels in one of two forms, which their shape shows. Hard: one class number for
    each position off the class axis, e.g. (N), (N, 1, 1, 1) or (N, 1, H, W). Soft (ours): in the scores' shape, axes of
    1 at its end aside, the share of each class, from 0 to 1. With a single class, where both shapes are the same,
    labels are hard. A position does not count where its label is ignore_label; a soft one where all its shares are.

    Each position has the sum over the classes c of t_c w_c loss(p_c): t the label's one-hot, or its shares; w the
    class weights, label_weights (Jacinto) or class_weighting with weight_by_label_freqs (ENet, SegNet; Xilinx reads and
    ignores both). `label_smoothing` e makes (1 - e) t_c + e / C of t_c, in both phases: the weights and the smoothing
    are those of torch.nn.functional.cross_entropy. The sum is divided by what loss_param.normalization says, default
    VALID, never by weights.

    Intel Caffe (softmax_loss_layer.cpp), whose field it is, smooths the gradient alone and shows the plain loss. It
    gives 1 - e to the label and e / D to each other class, D the number of all scores of an item (C H W of a map), so
    that its targets do not sum to 1.
    """

    deploy_head: ClassVar[str] = "Softmax"
    tops: ClassVar[tuple[int, int | None]] = (0, 2)
    class_weights: Tensor | None

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        scores, labels = bottom_shapes
        self.axis = self.axis_index(param.softmax_param.axis, scores)
        self._check_labels(scores, labels)
        p = param.loss_param
        self.smoothing = p.label_smoothing
        if not 0 <= self.smoothing <= 1:
            raise LayerError(f"loss_param: label_smoothing {self.smoothing:g} must be from 0 to 1")
        self.mode = self._mode("VALID")
        weights = class_weights(p, context.fork)
        if weights and len(weights) != scores[self.axis]:
            raise LayerError(
                f"{len(weights)} class weights for {scores[self.axis]} classes (axis {self.axis} of the scores)"
            )
        self.register_buffer("class_weights", torch.tensor(weights) if weights else None, persistent=False)

    def _losses(self, log_probability: Tensor) -> Tensor:
        """The loss of probabilities that should be 1."""
        raise NotImplementedError

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor | tuple[Tensor, ...]:
        target = self._target(scores, labels)
        total = self._total(scores, target)
        positions = scores.numel() // scores.shape[self.axis]
        loss = self.normalized(total, self.mode, scores.shape[0], positions, target.counted)
        if self.top_count == 1:
            return loss
        tops = (loss, softmax(scores.detach(), self.axis))
        return tops if self.top_count == 2 else (*tops, self._each(scores.detach(), target, labels.shape))

    def _check_labels(self, scores: Shape, labels: Shape) -> None:
        if not holds_shares(scores, labels, self.axis):
            check_label_count(scores, labels, self.axis, "; soft labels have the shape of the scores")

    def _target(self, scores: Tensor, labels: Tensor) -> _Target:
        if not holds_shares(scores.shape, labels.shape, self.axis):
            self._check_labels(scores.shape, labels.shape)
            index, counted = class_index(self.param, labels, scores, self.axis, self.ignore)
            return _Target(index, None, counted)
        shares, counted = labels.detach().reshape(scores.shape), None
        if self.ignore is not None:
            counted = (shares != self.ignore).any(self.axis, keepdim=True)
            shares = shares.masked_fill(~counted, 0)
        check_shares(self.param, shares)
        return _Target(None, shares.to(scores.dtype), counted)

    def _total(self, scores: Tensor, target: _Target) -> Tensor:
        """The sum of all positions' losses."""
        return self._position_losses(scores, target).sum()

    def _position_losses(self, scores: Tensor, target: _Target) -> Tensor:
        """The loss of each position, 0 where it does not count; of the scores' shape with 1 on the class axis."""
        log_probability = AtLeast.apply(softmax(scores, self.axis, F.log_softmax), _LOG_LEAST)
        if target.index is not None:
            losses = self._losses(log_probability.gather(self.axis, target.index))
            if self.class_weights is not None:
                losses = losses * self.class_weights.to(scores.dtype)[target.index]
            if self.smoothing:
                spread = self._weighted(self._losses(log_probability)).mean(self.axis, keepdim=True)
                losses = (1 - self.smoothing) * losses + self.smoothing * spread
        else:
            assert target.shares is not None
            shares = target.shares * (1 - self.smoothing) + self.smoothing / scores.shape[self.axis]
            losses = (self._weighted(self._losses(log_probability)) * shares).sum(self.axis, keepdim=True)
        return losses if target.counted is None else losses * target.counted

    def _weighted(self, losses: Tensor) -> Tensor:
        """Losses of all classes times the weight of each."""
        if self.class_weights is None:
            return losses
        shape = [1] * losses.dim()
        shape[self.axis] = -1
        return losses * self.class_weights.to(losses.dtype).reshape(shape)

    def _each(self, scores: Tensor, target: _Target, labels: Shape) -> Tensor:
        """The loss of each label: in the shape of hard labels, of soft ones with a single class."""
        losses = self._position_losses(scores, target)
        return losses if target.index is None else losses.movedim(self.axis, -1).reshape(labels)


def class_weights(p: pb.LossParameter, fork: Fork) -> list[float]:
    """The weight of each class in a loss that has them; [] for none."""
    if not p.weight_by_label_freqs or fork is Fork.XILINX:
        weights = list(p.label_weights)
    elif p.class_weighting:
        weights = list(p.class_weighting)
    else:
        raise LayerError("weight_by_label_freqs needs class_weighting")
    if not all(map(math.isfinite, weights)):
        raise LayerError(f"loss_param: class weights must be numbers, found {', '.join(f'{w:g}' for w in weights)}")
    return weights


@register("SoftmaxWithLoss")
class SoftmaxWithLoss(SoftmaxLossLayer):
    """Softmax along softmax_param.axis and the negative log likelihood -log p of the labels (BVLC).

    Bottoms, class weights, smoothing: see `SoftmaxLossLayer`. Tops: the loss; the probabilities, if named, which pass
    no gradient back. A third top has the loss of each label by itself, in the labels' shape, 0 where ignored, without
    a gradient (daijifeng001/caffe-rfcn).

    ENet, and wherever its weight_by_label_freqs is used: `normalization` is not looked at, only `normalize`. With
    Jacinto's label_weights its CPU code leaves the gradient unweighted; ours is that of its GPU code. Where every label
    is ignored the loss is 0 in every fork (ENet's original gives NaN).
    """

    tops: ClassVar[tuple[int, int | None]] = (0, 3)

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.loss_param
        if context.fork.is_segnet or (p.weight_by_label_freqs and context.fork is not Fork.XILINX):
            self.mode = "VALID" if p.normalize or not p.HasField("normalize") else "BATCH_SIZE"

    def _losses(self, log_probability: Tensor) -> Tensor:
        return -log_probability

    def _total(self, scores: Tensor, target: _Target) -> Tensor:
        if target.index is None or self.smoothing:
            return super()._total(scores, target)
        weight = None if target.counted is None else target.counted.to(scores.dtype)
        if self.class_weights is not None:
            by_class = self.class_weights.to(scores.dtype)[target.index]
            weight = by_class if weight is None else by_class * weight
        return softmax_nll(scores, target.index, weight, self.axis)
