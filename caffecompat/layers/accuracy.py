"""Accuracy: how many labels are among the best scored classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from caffecompat.forks import Fork
from caffecompat.layers.class_scores import OutsideLabels, check_label_count, count_by_class
from caffecompat.layers.layer import Context, Layer, LayerError, Shape, values_known
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["Accuracy", "among_best"]


def among_best(scores: Tensor, index: Tensor, axis: int, top_k: int, *, ties_count: bool) -> Tensor:
    """Whether the score of class `index` is among the top_k along `axis`: bool, of the shape of `index`.

    With `ties_count` every other class that scores as high comes before it (BVLC, so a net that
    scores all classes alike has accuracy 0); else only those of them with a greater number (the
    forks sort pairs of score and class).
    """
    own = scores.gather(axis, index)
    hits = _count_along(scores >= own, axis) <= top_k
    if ties_count:
        return hits
    # Sorting out ties costs as much again as both counts, and hardly ever a tie reaches over rank top_k.
    tied = (_count_along(scores > own, axis) < top_k) & ~hits
    if tied.is_meta or (values_known(tied) and not tied.any()):
        return hits
    numbers = torch.arange(scores.shape[axis], device=scores.device)
    later = numbers.view([-1 if i == axis else 1 for i in range(scores.dim())]) > index
    return _count_along((scores > own) | ((scores == own) & later), axis) < top_k


def _count_along(flags: Tensor, axis: int) -> Tensor:
    # Bytes are summed several times as fast as bools into int64, but hold at most 255.
    dtype = torch.uint8 if flags.shape[axis] < 256 else torch.int32
    return flags.view(torch.uint8).sum(axis, keepdim=True, dtype=dtype).to(torch.int32)


@register("Accuracy")
class Accuracy(Layer):
    """Share of the labels that are among the top_k scores along accuracy_param.axis, without ignore_label.

    Bottoms: scores (N, C, ...), labels, one for each position off the class axis. Tops: the share; if
    named, the share of each class (C), 0 for a class without labels. Without any label to count the
    first is 0 in BVLC and NaN in the forks; `among_best` has how ties are settled. A label that is no class counts as
    wrong: it is in the denominator of the first top and nowhere in the second (see OutsideLabels).
    """

    measures: ClassVar[bool] = True
    judges_all: ClassVar[bool] = True
    bottoms: ClassVar[tuple[int, int | None]] = (2, 2)
    tops: ClassVar[tuple[int, int | None]] = (1, 2)
    not_exported: ClassVar[str] = "computes metrics"

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p, (scores, labels) = param.accuracy_param, bottom_shapes
        self.axis = self.axis_index(p.axis, scores)
        check_label_count(scores, labels, self.axis)
        self.top_k, self.ignore = p.top_k, p.ignore_label if p.HasField("ignore_label") else None
        if not 1 <= self.top_k <= scores[self.axis]:
            raise LayerError(f"top_k {self.top_k} must be 1 to {scores[self.axis]}, the number of classes")
        self.outside = OutsideLabels(param, scores[self.axis])

    def needs_gradient(self, bottom_index: int) -> bool:
        return False

    @torch.no_grad()
    def forward(self, scores: Tensor, labels: Tensor) -> Tensor | tuple[Tensor, ...]:
        check_label_count(scores.shape, labels.shape, self.axis)
        shape = list(scores.shape)
        shape[self.axis] = 1
        labels = labels.to(torch.int64).reshape(shape)
        counted = torch.ones_like(labels, dtype=torch.bool) if self.ignore is None else labels != self.ignore
        of_class = counted & ~self.outside.find(labels, counted)
        index = labels.masked_fill(~of_class, 0)
        bvlc = self.context.fork is Fork.BVLC
        hits = among_best(scores, index, self.axis, self.top_k, ties_count=bvlc) & of_class
        total = counted.sum()
        share = hits.sum().to(scores.dtype) / (total.clamp(min=1) if bvlc else total)
        if self.top_count == 1:
            return share
        classes = scores.shape[self.axis]
        each = count_by_class(index, hits, classes) / count_by_class(index, of_class, classes).clamp(min=1)
        return share, each.to(scores.dtype)
