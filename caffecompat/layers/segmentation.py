"""Scores of label maps: what segmentation nets are measured by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from caffecompat.layers.accuracy import among_best
from caffecompat.layers.class_scores import OutsideLabels, check_label_count, count_by_class
from caffecompat.layers.functional.class_scores import top_k
from caffecompat.layers.functional.resampling import resize_nearest
from caffecompat.layers.layer import Context, Layer, LayerError, Shape
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = [
    "IOUAccuracy",
    "SegAccuracy",
    "SegmentPixelIOU",
    "SegmentationAccuracy",
]


class _LabelMapScore(Layer):
    """Compares scores (N, C, H, W) with label maps (N, 1, H, W); nothing flows back."""

    measures: ClassVar[bool] = True
    judges_all: ClassVar[bool] = True
    bottoms: ClassVar[tuple[int, int | None]] = (2, 2)
    not_exported: ClassVar[str] = "computes metrics"

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        for name, shape in zip(param.bottom, bottom_shapes, strict=True):
            if len(shape) != 4:
                raise LayerError(f"{self.type} needs bottoms (N, C, H, W), {name!r} has shape {tuple(shape)}")

    def needs_gradient(self, bottom_index: int) -> bool:
        return False


@register("SegmentPixelIOU")
class SegmentPixelIOU(_LabelMapScore):
    """Pixels of each class: top (3, C) of true positives, false positives and false negatives in the batch (Xilinx).

    Bottoms: scores (N, C, h, w), labels (N, 1, H, W). The class maps are brought to the size of the labels
    by taking the nearest value. Label 255 never counts; the layer has no parameter to change that. Any other label
    that is no class adds to none of the counts (the original ends there).
    """

    IGNORED = 255

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        scores, labels = map(tuple, bottom_shapes)
        if labels[:2] != (scores[0], 1):
            raise LayerError(f"labels of shape {labels} must be one map an item, ({scores[0]}, 1, H, W)")
        self.outside = OutsideLabels(param, scores[1])

    @torch.no_grad()
    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        classes = scores.shape[1]
        truth = labels.to(torch.int64)
        counted = truth != self.IGNORED
        counted &= ~self.outside.find(truth, counted)
        truth = truth.masked_fill(~counted, 0)
        found = resize_nearest(scores.max(1, keepdim=True).indices, labels.shape[2:])
        right = (found == truth) & counted
        wrong = (found != truth) & counted
        pairs = ((truth, right), (found, wrong), (truth, wrong))
        return torch.stack([count_by_class(index, counted, classes) for index, counted in pairs]).to(scores.dtype)


def _confusion_matrix(truth: Tensor, found: Tensor, counted: Tensor, classes: int) -> Tensor:
    """How many counted positions of class i (row) were taken for class j (column): (classes, classes) float32."""
    return count_by_class(truth * classes + found, counted, classes * classes).view(classes, classes)


@register("SegmentationAccuracy")
class SegmentationAccuracy(_LabelMapScore):
    """Confusion matrix of the batch, top (1, 1, C, C): row the label, column the class found (Jacinto).

    A label among the top_k scores counts as found. Labels outside 0 to C - 1 and
    ignore_label are left out. The original counts the hits only, so that
    everything off the diagonal stays 0; we count both.
    """

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p, (scores, labels) = param.accuracy_param, bottom_shapes
        check_label_count(scores, labels, 1)
        self.top_k, self.ignore = p.top_k, p.ignore_label if p.HasField("ignore_label") else None
        if not 1 <= self.top_k <= scores[1]:
            raise LayerError(f"top_k {self.top_k} must be 1 to {scores[1]}, the number of classes")

    @torch.no_grad()
    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        classes, truth = scores.shape[1], labels.to(torch.int64)
        counted = (truth >= 0) & (truth < classes)
        if self.ignore is not None:
            counted &= truth != self.ignore
        truth = truth.masked_fill(~counted, 0)
        hits = among_best(scores, truth, 1, self.top_k, ties_count=False)
        found = torch.where(hits, truth, top_k(scores, 1, 1)[1])
        return _confusion_matrix(truth, found, counted, classes).to(scores.dtype)[None, None]


@register("IOUAccuracy")
class IOUAccuracy(Layer):
    """Mean IoU of the batch, top (1); and, if named, the IoU of each class, (C) (Jacinto 0.15).

    Bottoms: scores (N, C, ...) along accuracy_param.axis, labels, one for each position. Labels outside 0 to C - 1
    and ignore_label are left out. A class in neither labels nor results has IoU 0 and is not part of the mean.
    `history_size` has no effect: the original means to carry counts from batch to batch, but clears them before each.
    """

    bottoms: ClassVar[tuple[int, int | None]] = (2, 2)
    tops: ClassVar[tuple[int, int | None]] = (1, 2)
    not_exported: ClassVar[str] = "computes metrics"

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.accuracy_param
        self.axis = self.axis_index(p.axis, bottom_shapes[0])
        self.ignore = p.ignore_label if p.HasField("ignore_label") else None
        check_label_count(bottom_shapes[0], bottom_shapes[1], self.axis)

    def needs_gradient(self, bottom_index: int) -> bool:
        return False

    @torch.no_grad()
    def forward(self, scores: Tensor, labels: Tensor) -> Tensor | tuple[Tensor, ...]:
        classes = scores.shape[self.axis]
        found = top_k(scores, 1, self.axis)[1].flatten()
        truth = labels.to(torch.int64).flatten()
        counted = (truth >= 0) & (truth < classes)
        if self.ignore is not None:
            counted &= truth != self.ignore
        counts = _confusion_matrix(truth.masked_fill(~counted, 0), found, counted, classes)
        right = counts.diagonal()
        union = counts.sum(1) + counts.sum(0) - right
        iou = (right / union.clamp(min=1)).to(scores.dtype)
        mean = (iou.sum() / (union > 0).sum().clamp(min=1)).view(1)
        return mean if self.top_count == 1 else (mean, iou)


@register("SegAccuracy")
class SegAccuracy(_LabelMapScore):
    """Top (1, 1, 1, 3): pixel accuracy, mean recall of the classes and mean IoU (PSPNet, DeepLab).

    All seg_accuracy_param.ignore_label (repeated) are left out. The mean recall is over classes that have labels;
    a class in neither labels nor results counts as IoU 1. With `reset: false` the counts go on from batch to batch.
    Any other label that is no class is a pixel that is wrong, and part of no class (the original ends there).
    """

    remembers = ("counts", "wrong")
    counts: Tensor
    wrong: Tensor

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        check_label_count(bottom_shapes[0], bottom_shapes[1], 1)
        classes, p = bottom_shapes[0][1], param.seg_accuracy_param
        self.ignored_labels, self.resets = list(p.ignore_label), p.reset
        self.register_buffer("counts", torch.zeros(classes, classes), persistent=False)
        self.register_buffer("wrong", torch.zeros(()), persistent=False)  # labels that are no class
        self.outside = OutsideLabels(param, classes)

    @torch.no_grad()
    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        classes = scores.shape[1]
        truth = labels.to(torch.int64)
        ignored = torch.isin(truth, torch.tensor(self.ignored_labels, dtype=torch.int64, device=truth.device))
        outside = self.outside.find(truth, ~ignored)
        counted = ~(ignored | outside)
        truth = truth.masked_fill(~counted, 0)
        counts = _confusion_matrix(truth, top_k(scores, 1, 1)[1], counted, classes)
        wrong = outside.sum().to(counts.dtype)
        if not self.resets and not counts.is_meta:
            self.counts += counts
            self.wrong += wrong
            counts, wrong = self.counts, self.wrong
        right, labeled, found = counts.diagonal(), counts.sum(1), counts.sum(0)
        union = labeled + found - right
        recall = (right / labeled.clamp(min=1)).sum() / (labeled > 0).sum().clamp(min=1)
        iou = torch.where(union > 0, right / union.clamp(min=1), 1.0).mean()
        accuracy = right.sum() / (labeled.sum() + wrong).clamp(min=1)
        return torch.stack([accuracy, recall, iou]).view(1, 1, 1, 3)
