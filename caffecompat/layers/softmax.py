"""Softmax; the losses after one have it built in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from caffecompat.layers.class_scores import softmax
from caffecompat.layers.layer import Context, Layer, Shape
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["Softmax"]


@register("Softmax")
class Softmax(Layer):
    """Softmax along softmax_param.axis, by default the channels (BVLC)."""

    keeps_pixels: ClassVar[bool] = True
    gives_shares: ClassVar[bool] = True
    detection_head: ClassVar[bool] = True

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        self.axis = self.axis_index(param.softmax_param.axis, bottom_shapes[0])
        self.mixes_items = "" if self.axis else "its probabilities sum up to 1 over the items of the batch"

    def forward(self, bottom: Tensor) -> Tensor:
        return softmax(bottom, self.axis)
