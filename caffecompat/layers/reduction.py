"""Reduction and ArgMax: layers that leave few values of an axis, or one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from caffecompat.layers.functional.class_scores import top_k
from caffecompat.layers.functional.reduction import arg_max, arg_max_of_items
from caffecompat.layers.layer import Context, Layer, LayerError, Shape, View
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["ArgMax", "Reduction"]


@register("ArgMax")
class ArgMax(Layer):
    """Indices (as floats) of the top_k greatest values, greatest first; of equal values the last comes first (BVLC).

    With `axis`: along that axis, which becomes top_k long; out_max_val gives the values instead.
    Without: over all but the first axis, top (N, 1, top_k), with out_max_val (N, 2, top_k) of
    indices and values; a 1 is appended for each axis of the bottom beyond three. Nothing flows back.
    """

    chooses: ClassVar[bool] = True

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p, shape = param.argmax_param, bottom_shapes[0]
        self.top_k, self.with_values = p.top_k, p.out_max_val
        self.axis = self.axis_index(p.axis, shape) if p.HasField("axis") else None
        self.mixes_items = "it chooses among the items of the batch" if self.axis == 0 else ""
        size = torch.Size(shape[1:]).numel() if self.axis is None else shape[self.axis]
        if not 1 <= self.top_k <= size:
            raise LayerError(f"top_k {self.top_k} must be 1 to {size}, the number of values to choose from")

    def fields(self, slot: int) -> list[tuple[Any, bool]]:
        """Indices, or values, or pairs of both."""
        if not self.with_values:
            return [(..., True)]
        return [((slice(None), 0), True), ((slice(None), 1), False)] if self.axis is None else [(..., False)]

    def needs_gradient(self, bottom_index: int) -> bool:
        return False

    def view(self, bottom: Shape, top: Shape) -> View | None:
        return View() if self.axis == 1 else None

    def forward(self, bottom: Tensor) -> Tensor:
        bottom = bottom.detach()
        if self.axis is None:
            return arg_max_of_items(bottom, self.top_k, self.with_values)
        if self.with_values:
            return top_k(bottom, self.top_k, self.axis)[0]
        return arg_max(bottom, self.axis, self.top_k)


@register("Reduction")
class Reduction(Layer):
    """coeff times the SUM, ASUM (of magnitudes), SUMSQ (of squares) or MEAN over `axis` and all after it (BVLC)."""

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.reduction_param
        self.axis = self.axis_index(p.axis, bottom_shapes[0])
        self.mixes_items = "" if self.axis else "it sums over all items of the batch"
        self.operation, self.coeff = p.ReductionOp.Name(p.operation), p.coeff

    def forward(self, bottom: Tensor) -> Tensor:
        axes = list(range(self.axis, bottom.dim()))
        if self.operation == "MEAN":
            top = bottom.mean(axes)
        elif self.operation == "ASUM":
            top = bottom.abs().sum(axes)
        elif self.operation == "SUMSQ":
            top = bottom.square().sum(axes)
        else:
            top = bottom.sum(axes)
        return top if self.coeff == 1 else top * self.coeff
