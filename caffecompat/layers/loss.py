"""What losses share; InfogainLoss, MultinomialLogisticLoss, HingeLoss and SigmoidCrossEntropyLoss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from google.protobuf.message import DecodeError
from torch import Tensor

from caffecompat import glog
from caffecompat.files import read_bytes
from caffecompat.forks import Fork
from caffecompat.layers.class_scores import check_label_count, class_index, softmax
from caffecompat.layers.functional.loss import balanced_cross_entropy
from caffecompat.layers.layer import Context, Layer, LayerError, Shape
from caffecompat.layers.registry import register
from caffecompat.paths import find_file
from caffecompat.schema import pb

__all__ = [
    "AtLeast",
    "HingeLoss",
    "InfogainLoss",
    "LossLayer",
    "MultinomialLogisticLoss",
    "SigmoidCrossEntropyLoss",
]

# The least probability whose logarithm is taken (BVLC).
_LEAST = 1e-20


class LossLayer(Layer):
    """A loss: bottom 0 holds predictions, bottom 1 what they should be; the top is a scalar.

    The top may be left unnamed, as Caffe allows for losses. Gradients go to
    bottom 0, unless the class says otherwise.

    Attributes:
        batch_axis: of bottom 0, along which its items lie; those of bottom 1 lie along its first.
    """

    bottoms: ClassVar[tuple[int, int | None]] = (2, 2)
    tops: ClassVar[tuple[int, int | None]] = (0, 1)
    is_loss: ClassVar[bool] = True
    not_exported: ClassVar[str] = "is a loss"
    batch_axis: ClassVar[int] = 0

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        first, second = tuple(bottom_shapes[0]), tuple(bottom_shapes[1])
        axis = self.batch_axis
        if len(first) <= axis or not second or first[axis] != second[0]:
            axes = f"axis {axis} and axis 0" if axis else "axis 0"
            raise LayerError(
                f"{param.bottom[0]!r} of shape {first} and {param.bottom[1]!r} of shape {second} must have the same "
                f"number of batch items ({axes})"
            )
        p = param.loss_param
        self.ignore = p.ignore_label if p.HasField("ignore_label") else None
        self.fixed_normalizer = p.pre_fixed_normalizer

    def needs_gradient(self, bottom_index: int) -> bool:
        return bottom_index == 0

    def _mode(self, default: str) -> str:
        """What the sum is divided by: the name of a LossParameter.NormalizationMode."""
        p = self.param.loss_param
        if p.HasField("normalization"):
            return str(p.NormalizationMode.Name(p.normalization))
        if p.HasField("normalize"):
            return "VALID" if p.normalize else "BATCH_SIZE"
        return default

    def normalized(self, total: Tensor, mode: str, batch: int, positions: int, counted: Tensor | None = None) -> Tensor:
        """Divide a loss summed over `positions` by what `mode` says, at least 1 (BVLC).

        FULL: all positions; VALID: those counted; BATCH_SIZE: `batch`; NONE: 1; PRE_FIXED: pre_fixed_normalizer
        (daijifeng001/caffe-rfcn).
        """
        if mode == "VALID" and counted is not None:
            return total / counted.sum().clamp(min=1)
        fixed = self.fixed_normalizer
        divisor = {"FULL": positions, "VALID": positions, "BATCH_SIZE": batch, "NONE": 1, "PRE_FIXED": fixed}[mode]
        return total / max(divisor, 1)


class AtLeast(torch.autograd.Function):
    """max(x, least) whose gradient takes no notice of the limit: Caffe's backward passes know none."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, least: float) -> Tensor:
        return values.clamp(min=least)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


@register("InfogainLoss")
class InfogainLoss(LossLayer):
    """-sum over classes j of H[label, j] log(max(p_j, 1e-20)); H is bottom 2 or the file infogain_loss_param.source.

    BVLC: bottom 0 are scores, of which p is the softmax along infogain_loss_param.axis; labels as
    for SoftmaxWithLoss; a second top gives p. The forks branched off earlier: their
    bottom 0 is p itself (N, C), one label an item, and the sum is divided by N.
    """

    deploy_head: ClassVar[str] = "Softmax"
    bottoms: ClassVar[tuple[int, int | None]] = (2, 3)
    tops: ClassVar[tuple[int, int | None]] = (0, 2)
    matrix: Tensor | None

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p, scores = param.infogain_loss_param, bottom_shapes[0]
        self.on_scores = context.fork is Fork.BVLC
        self.axis = self.axis_index(p.axis, scores) if self.on_scores else 1
        self.mode = self._mode("VALID") if self.on_scores else "BATCH_SIZE"
        if not self.on_scores:
            scores = (scores[0], math.prod(scores[1:]))
        check_label_count(scores, bottom_shapes[1], self.axis)
        matrix = None if len(bottom_shapes) == 3 else _read_matrix(p, context.relative_to)
        shape = tuple(bottom_shapes[2]) if matrix is None else tuple(matrix.shape)
        if math.prod(shape) != scores[self.axis] ** 2:
            raise LayerError(f"the infogain matrix has shape {shape}, it must be C x C for {scores[self.axis]} classes")
        self.register_buffer("matrix", matrix, persistent=False)

    def forward(self, scores: Tensor, labels: Tensor, gains: Tensor | None = None) -> Tensor | tuple[Tensor, ...]:
        if self.on_scores:
            log_probability = AtLeast.apply(softmax(scores, self.axis, F.log_softmax), math.log(_LEAST))
        else:
            log_probability = AtLeast.apply(scores.reshape(scores.shape[0], -1), _LEAST).log()
        index, counted = class_index(
            self.param, labels, log_probability, self.axis, self.ignore if self.on_scores else None
        )
        classes = log_probability.shape[self.axis]
        matrix = self.matrix if gains is None else gains.detach()
        assert matrix is not None
        table = matrix.to(scores.dtype).reshape(classes, classes)
        rows = table[index.movedim(self.axis, -1).squeeze(-1)]
        if counted is not None:
            rows = rows * counted.movedim(self.axis, -1)
        total = -(rows * log_probability.movedim(self.axis, -1)).sum()
        loss = self.normalized(total, self.mode, scores.shape[0], index.numel(), counted)
        return loss if self.top_count == 1 else (loss, softmax(scores.detach(), self.axis))


def _read_matrix(p: pb.InfogainLossParameter, relative_to: str | None) -> Tensor:
    """H from the binary BlobProto file that infogain_loss_param names: (C, C)."""
    if not p.source:
        raise LayerError("the infogain matrix is missing: name a file in infogain_loss_param.source or a third bottom")
    path = find_file(p.source, relative_to, LayerError, field="infogain_loss_param.source")
    try:
        blob = pb.BlobProto.FromString(read_bytes(path, LayerError))
    except DecodeError:
        raise LayerError(f"the infogain matrix {p.source} is not a binary BlobProto") from None
    values = torch.tensor(list(blob.data) or list(blob.double_data), dtype=torch.float32)
    size = math.isqrt(values.numel())
    if size == 0 or size * size != values.numel():
        raise LayerError(f"the infogain matrix {p.source} has {values.numel()} values, which are not a square")
    return values.reshape(size, size)


@register("MultinomialLogisticLoss")
class MultinomialLogisticLoss(LossLayer):
    """Mean over the batch of -log(max(p[label], 1e-20)); p (N, C) are probabilities, one label an item (BVLC)."""

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        _one_label_an_item(bottom_shapes)

    def forward(self, probability: Tensor, labels: Tensor) -> Tensor:
        rows = probability.reshape(probability.shape[0], -1)
        index, _ = class_index(self.param, labels, rows, 1, None)
        probable: Tensor = AtLeast.apply(rows.gather(1, index), _LEAST)
        return -probable.log().sum() / rows.shape[0]


@register("HingeLoss")
class HingeLoss(LossLayer):
    """One-against-all hinge: max(0, 1 - t x) with t = 1 for the label's class, -1 else (BVLC).

    Summed (hinge_loss_param.norm L1) or squared and summed (L2), divided by N.
    Bottoms: scores (N, C), one label an item.
    """

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        _one_label_an_item(bottom_shapes)
        p = param.hinge_loss_param
        self.squared = p.norm == p.L2

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        rows = scores.reshape(scores.shape[0], -1)
        index, _ = class_index(self.param, labels, rows, 1, None)
        sign = torch.ones_like(rows).scatter_(1, index, -1.0)
        margins = F.relu(1 + sign * rows)
        return (margins.square() if self.squared else margins).sum() / rows.shape[0]


def _one_label_an_item(shapes: Sequence[Shape]) -> None:
    items, labels = shapes[0][0], math.prod(shapes[1])
    if items != labels:
        raise LayerError(f"{labels} labels (shape {tuple(shapes[1])}) for {items} batch items; it takes one label each")


@register("SigmoidCrossEntropyLoss")
class SigmoidCrossEntropyLoss(LossLayer):
    """Sum of -t log s(x) - (1 - t) log(1 - s(x)) with the sigmoid s; x and t have as many values (BVLC).

    Targets that are ignore_label (cut to an integer) do not count. Divided by
    loss_param.normalization, default BATCH_SIZE.

    HED's Caffe (s9xie/hed, sigmoid_cross_entropy_loss_layer.cpp) balances the labels 1 and 0 of each image, leaves out
    any other and divides by the number of images; RCF's (yun-liu/RCF) multiplies the part of the zeros by 1.1. Neither
    looks at loss_param. An image without any 1 or without any 0 has the loss 0, also one with neither (where the
    originals give NaN); scores whose label is neither get no gradient, as in RCF's code.
    """

    deploy_head: ClassVar[str] = "Sigmoid"

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        self.negative_factor = {Fork.HED: 1.0, Fork.RCF: 1.1}.get(context.fork)
        p = param.loss_param
        if self.negative_factor is not None and any(map(p.HasField, ("normalization", "normalize", "ignore_label"))):
            glog.warning(
                f"layer {param.name!r} (SigmoidCrossEntropyLoss): loss_param has no effect in {context.fork.value}, "
                f"whose loss is balanced for each image and divided by their number"
            )
        scores, targets = bottom_shapes
        if math.prod(scores) != math.prod(targets):
            raise LayerError(f"scores of shape {tuple(scores)} and targets of {tuple(targets)} differ in count")
        self.mode = self._mode("BATCH_SIZE")

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        if self.negative_factor is not None:
            return balanced_cross_entropy(scores, targets, self.negative_factor)
        targets = targets.detach().reshape(scores.shape)
        counted = None if self.ignore is None else targets.to(torch.int64) != self.ignore
        weight = None if counted is None else counted.to(scores.dtype)
        total = F.binary_cross_entropy_with_logits(scores, targets, weight=weight, reduction="sum")
        return self.normalized(total, self.mode, scores.shape[0], scores.numel(), counted)
