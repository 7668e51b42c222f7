"""Embed: a table of vectors looked up by index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from caffecompat.layers.layer import Context, Layer, LayerError, Shape, values_known
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["Embed"]


@register("Embed")
class Embed(Layer):
    """Each value of the bottom is an index, 0 to input_dim - 1; its row of the weight takes its place.

    Blobs: weight (input_dim, num_output); bias (num_output) unless bias_term is false. Top: the
    bottom's shape, then num_output. No gradient reaches the bottom (BVLC).

    Raises:
        LayerError: in forward, where a value is no index; BVLC reads past its table there.
    """

    index_bottoms: ClassVar[tuple[int, ...]] = (0,)
    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.embed_param
        if p.num_output < 1 or p.input_dim < 1:
            raise LayerError("num_output and input_dim must both be at least 1")
        self.add_blob("weight", (p.input_dim, p.num_output), p.weight_filler)
        if p.bias_term:
            self.add_blob("bias", (p.num_output,), p.bias_filler)
        else:
            self.register_parameter("bias", None)

    def sample_bottom(
        self, place: int, bottoms: Sequence[Shape], tops: Sequence[Shape], rng: np.random.Generator
    ) -> np.ndarray:
        """Rows of the weight."""
        return rng.integers(0, self.param.embed_param.input_dim, bottoms[0])

    def needs_gradient(self, bottom_index: int) -> bool:
        """Indices have no gradient."""
        return False

    def forward(self, bottom: Tensor) -> Tensor:
        index = bottom.long()
        self._check(index, bottom)
        top = F.embedding(index, self.weight)
        return top if self.bias is None else top + self.bias

    def _check(self, index: Tensor, bottom: Tensor) -> None:
        rows = self.weight.shape[0]
        outside = None if not values_known(index) or not index.numel() else (index < 0) | (index >= rows)
        if outside is None or not outside.any():
            return
        place = tuple(outside.nonzero()[0].tolist())
        raise LayerError(
            f"layer {self.param.name!r} (Embed): the index {bottom[place].item():g} in {self.param.bottom[0]!r} "
            f"of shape {tuple(bottom.shape)}, at {place}, is not a row of the table (0 to {rows - 1}); "
            f"change the indices or input_dim"
        )
