"""Flip and Reverse: values in the opposite order along axes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from caffecompat.layers.layer import Context, Layer, LayerError, Shape, View
from caffecompat.layers.precision import Precision
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["Flip", "Reverse"]


class _Reversed(Layer):
    """A top whose values run backwards along `axes`."""

    precision = Precision.HALF
    axes: list[int]

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        self.refuse_in_place()

    def view(self, bottom: Shape, top: Shape) -> View:
        """A value sees what its mirror image sees."""
        return View()

    def forward(self, bottom: Tensor) -> Tensor:
        return bottom.flip(self.axes)


@register("Flip")
class Flip(_Reversed):
    """Mirrors (N, C, H, W) left to right (`flip_width`, the default) and top to bottom (`flip_height`).

    After happynear/caffe-windows, flip_layer.cpp.
    """

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p, shape = param.flip_param, bottom_shapes[0]
        if len(shape) != 4:
            raise LayerError(f"Flip takes (N, C, H, W), the bottom is {tuple(shape)}")
        self.axes = [axis for axis, flips in ((2, p.flip_height), (3, p.flip_width)) if flips]


@register("Reverse")
class Reverse(_Reversed):
    """The bottom backwards along `axis` (default 0, time in (T, N, ...)), as in forks for CRNN (dlunion/CC4.0).

    A second bottom that marks where sequences end, which layers of that name in some forks take, is refused.
    """

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        self.axes = [self.axis_index(param.reverse_param.axis, bottom_shapes[0])]
