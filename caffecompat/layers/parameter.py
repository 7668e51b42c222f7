"""Parameter: a learned blob as a top."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from caffecompat.layers.layer import Context, Layer, LayerError, Shape
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["Parameter"]


@register("Parameter")
class Parameter(Layer):
    """Top: its blob, of the shape `parameter_param.shape` says. It starts at 0, there is no filler (BVLC).

    Its gradients add up over the passes of an `iter_size`; in Caffe, where the
    diffs of blob and top are one memory, only the last pass counts.
    """

    bottoms: ClassVar[tuple[int, int | None]] = (0, 0)
    value: nn.Parameter

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        shape = tuple(param.parameter_param.shape.dim)
        if not param.parameter_param.HasField("shape") or any(size < 1 for size in shape):
            raise LayerError(f"parameter_param.shape must give sizes of at least 1, it is {shape or 'missing'}")
        self.add_blob("value", shape)

    def forward(self) -> Tensor:
        return self.value.clone()  # a layer that works in place must not write into the blob itself
