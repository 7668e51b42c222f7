"""Layers that learn label sequences without an alignment: CtcLoss, and LabelsequenceAccuracy, its measure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from caffecompat.layers.class_scores import OutsideLabels, check_labels
from caffecompat.layers.functional.ctc import ctc_costs, merge_path, pack
from caffecompat.layers.layer import Context, LabelError, Layer, LayerError, Shape
from caffecompat.layers.loss import LossLayer
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["CtcLoss", "LabelsequenceAccuracy"]


class _MeanOfSum(torch.autograd.Function):
    """The mean of costs, with the gradient of their sum."""

    @staticmethod
    def forward(ctx: Any, costs: Tensor) -> Tensor:
        ctx.shape = costs.shape
        return costs.mean()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.expand(ctx.shape)


def _check_blank(blank: int, classes: int, message: str) -> None:
    if not 0 <= blank < classes:
        raise LayerError(f"{message}: blank_label {blank} is not one of the {classes} classes (0 to {classes - 1})")


def _padding(blank: int) -> str:
    """What to do about labels that are no class."""
    return f"shorter label sequences are filled up with the blank_label, {blank}"


def _check_sequences(name: str, shape: Shape) -> None:
    if len(shape) < 2 or math.prod(shape[2:]) != 1:
        raise LayerError(
            f"{name!r} must be (items, places), a label sequence for each item filled up with the blank_label; "
            f"its shape is {tuple(shape)}"
        )


@register("CtcLoss")
class CtcLoss(LossLayer):
    """Mean over the items of -log of the probability that the steps read as the item's labels (see `ctc_costs`).

    After xmfbit/warpctc-caffe, on which yalecyu/crnn.caffe is built, and Baidu's warp-ctc in it. Bottoms: scores
    (T, N, alphabet_size), before the softmax, of which the first time_step steps count; labels (N, L), where
    blank_label (by default 0) fills up and is no label. No other label may be outside 0 to alphabet_size - 1, nor all
    labels of a batch blank. Without ctc_loss_param all steps count and class 0 is the blank (dlunion/CC4.0, the same
    otherwise). loss_param is not looked at.

    The value is the mean over the items, the gradient that of their sum: N times the mean's, as there. Neither is
    divided by the number of steps or labels. An item whose labels, with a blank between two alike, are more than the
    steps costs 0 and has no gradient (in warp-ctc the diff of the pass before).
    """

    class_axis: ClassVar[int | None] = 2
    deploy_head: ClassVar[str] = "Softmax"
    batch_axis: ClassVar[int] = 1

    untraceable: str = "how long its sequences are depends on the values"

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p, scores = param.ctc_loss_param, bottom_shapes[0]
        self.blank, self.classes, self.steps = p.blank_label, p.alphabet_size, p.time_step
        if not param.HasField("ctc_loss_param"):
            self.classes, self.steps = math.prod(scores[2:]), scores[0]
        for name, value in (("alphabet_size", self.classes), ("time_step", self.steps)):
            if not value:
                raise LayerError(f"ctc_loss_param needs {name}, at least 1")
        _check_blank(self.blank, self.classes, "ctc_loss_param")
        self._check(bottom_shapes)

    def _check(self, shapes: Sequence[Shape]) -> None:
        scores, labels = map(tuple, shapes)
        if math.prod(scores[2:]) != self.classes:
            raise LayerError(
                f"{self.param.bottom[0]!r} must be (steps, items, {self.classes}), its last axis as long as "
                f"alphabet_size; its shape is {scores}"
            )
        if scores[0] < self.steps:
            raise LayerError(f"time_step {self.steps} is more than the steps of {self.param.bottom[0]!r}, {scores[0]}")
        _check_sequences(self.param.bottom[1], labels)

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        self._check([scores.shape, labels.shape])
        if scores.is_meta:
            return scores.new_zeros(())  # torch's ctc_loss knows no meta tensors
        given = labels.detach().flatten(1)
        index = given.to(torch.int64)
        check_labels(self.param, index, given, self.classes, _padding(self.blank))
        if bool((index == self.blank).all()):
            raise LabelError(
                f"layer {self.param.name!r} ({self.type}): all {index.numel()} labels of the batch in "
                f"{self.param.bottom[1]!r} are the blank_label, {self.blank}; there is nothing to learn",
                self.param.bottom[1],
                0,
            )
        loss: Tensor = _MeanOfSum.apply(ctc_costs(scores[: self.steps].flatten(2), index, self.blank))
        return loss.to(scores.dtype)


@register("LabelsequenceAccuracy")
class LabelsequenceAccuracy(Layer):
    """Share of the items whose best path reads as their labels, all of them.

    After xmfbit/warpctc-caffe. Bottoms: scores (N, T, C), the items first, unlike those of CtcLoss; labels (N, L),
    where blank_label (by default 0) fills up and is no label. The best path has the class of the highest score at each
    step, the first of equals; it reads as what is left when repeats are merged and blanks removed. A label that is no
    class makes its item wrong and ends no run.
    """

    measures: ClassVar[bool] = True
    judges_all: ClassVar[bool] = True
    untraceable: str = "how long its sequences are depends on the values"
    bottoms: ClassVar[tuple[int, int | None]] = (2, 2)
    not_exported: ClassVar[str] = "computes metrics"

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        self.blank = param.labelsequence_accuracy_param.blank_label
        self._check(bottom_shapes)
        classes = bottom_shapes[0][2]
        _check_blank(self.blank, classes, "labelsequence_accuracy_param")
        self.outside = OutsideLabels(param, classes, _padding(self.blank))

    def _check(self, shapes: Sequence[Shape]) -> None:
        scores, labels = map(tuple, shapes)
        if len(scores) < 3 or math.prod(scores[3:]) != 1:
            raise LayerError(f"{self.param.bottom[0]!r} must be (items, steps, classes), its shape is {scores}")
        _check_sequences(self.param.bottom[1], labels)
        if scores[0] != labels[0]:
            raise LayerError(
                f"{self.param.bottom[0]!r} of shape {scores} and {self.param.bottom[1]!r} of shape {labels} must have "
                f"the same number of items (axis 0); scores of CtcLoss have the steps first: permute axes 0 and 1"
            )

    def needs_gradient(self, bottom_index: int) -> bool:
        return False

    @torch.no_grad()
    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        self._check([scores.shape, labels.shape])
        if scores.is_meta:
            return scores.new_zeros(())
        index = labels.flatten(1).to(torch.int64)
        self.outside.find(index)
        wanted, lengths = pack(index, index != self.blank)
        read, read_lengths = merge_path(scores.flatten(2).argmax(2), self.blank)
        places = torch.arange(min(wanted.shape[1], read.shape[1]), device=scores.device)
        shorter = len(places)
        differ = (wanted[:, :shorter] != read[:, :shorter]) & (places < lengths[:, None])
        right = (lengths == read_lengths) & ~differ.any(1)
        return right.to(scores.dtype).mean()
