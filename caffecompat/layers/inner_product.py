"""InnerProduct: the fully connected layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from caffecompat.layers.layer import Context, Layer, LayerError, Shape, missing_output
from caffecompat.layers.precision import Precision
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["InnerProduct"]


@register("InnerProduct")
class InnerProduct(Layer):
    """All axes from `axis` on are flattened, in (C, H, W) order, and multiplied by the weight.

    Blobs: weight (num_output, K), or (K, num_output) with `transpose: true`; bias (num_output)
    unless bias_term is false. Top: the bottom's axes before `axis`, then num_output (BVLC).
    """

    precision = Precision.HALF
    frees_top: ClassVar[bool] = True
    weighted: ClassVar[bool] = True
    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p, shape = param.inner_product_param, bottom_shapes[0]
        if p.num_output < 1:
            raise LayerError(missing_output(param, "inner_product_param"))
        self.axis = self.axis_index(p.axis, shape)
        self.transpose = p.transpose
        self.inputs = math.prod(shape[self.axis :])
        weight = (self.inputs, p.num_output) if p.transpose else (p.num_output, self.inputs)
        self.add_blob("weight", weight, p.weight_filler)
        if p.bias_term:
            self.add_blob("bias", (p.num_output,), p.bias_filler)
        else:
            self.register_parameter("bias", None)

    def macs(self, bottom_shapes: Sequence[Shape], top_shapes: Sequence[Shape]) -> int:
        """Multiply-accumulates: each top value sums K products."""
        return math.prod(top_shapes[0]) * self.inputs

    def forward(self, bottom: Tensor) -> Tensor:
        rows = bottom.flatten(self.axis)
        if rows.shape[-1] != self.inputs:
            raise LayerError(
                f"the weight takes {self.inputs} inputs, a bottom of shape {tuple(bottom.shape)} gives {rows.shape[-1]}"
            )
        return F.linear(rows, self.weight.t() if self.transpose else self.weight, self.bias)
