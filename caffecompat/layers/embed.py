"""Embed: a table of vectors looked up by index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from caffecompat.layers.layer import Context, Layer, LayerError, Shape
from caffecompat.layers.registry import register

__all__ = ["Embed"]


@register("Embed")
class Embed(Layer):
    """Each value of the bottom is an index, 0 to input_dim - 1; its row of the weight takes its place.

    Blobs: weight (input_dim, num_output); bias (num_output) unless bias_term is false. Top: the
    bottom's shape, then num_output. No gradient reaches the bottom (BVLC).
    """

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, param: Any, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.embed_param
        if p.num_output < 1 or p.input_dim < 1:
            raise LayerError("num_output and input_dim must both be at least 1")
        self.add_blob("weight", (p.input_dim, p.num_output), p.weight_filler)
        if p.bias_term:
            self.add_blob("bias", (p.num_output,), p.bias_filler)
        else:
            self.register_parameter("bias", None)

    def needs_gradient(self, bottom_index: int) -> bool:
        """Indices have no gradient."""
        return False

    def forward(self, bottom: Tensor) -> Tensor:
        top = F.embedding(bottom.long(), self.weight)
        return top if self.bias is None else top + self.bias
