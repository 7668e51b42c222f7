"""Layers on flow fields: ChannelNorm and FlowWarp (FlowNet2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from caffecompat.layers.functional.flow import flow_warp
from caffecompat.layers.layer import Context, Layer, LayerError, Shape, View
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["ChannelNorm", "FlowWarp"]


class _Norm(torch.autograd.Function):
    """The length of each pixel's vector of channels; the gradient divides by the length + 1e-9, so that 0 has one."""

    @staticmethod
    def forward(ctx: Any, bottom: Tensor) -> Tensor:
        top: Tensor = torch.linalg.vector_norm(bottom, dim=1, keepdim=True)
        ctx.save_for_backward(bottom, top)
        return top

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        bottom, top = ctx.saved_tensors
        slope: Tensor = grad * bottom / (top + 1e-9)
        return slope


@register("ChannelNorm")
class ChannelNorm(Layer):
    """The square root of the sum over channels of squares: (N, C, H, W) to (N, 1, H, W) (lmb-freiburg/flownet2)."""

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        if len(bottom_shapes[0]) != 4:
            raise LayerError(f"ChannelNorm needs a bottom (N, C, H, W), it has shape {tuple(bottom_shapes[0])}")

    def macs(self, bottom_shapes: Sequence[Shape], top_shapes: Sequence[Shape]) -> int:
        return math.prod(bottom_shapes[0])

    def forward(self, bottom: Tensor) -> Tensor:
        top: Tensor = _Norm.apply(bottom)
        return top


@register("FlowWarp")
class FlowWarp(Layer):
    """The first bottom pulled along a flow field: bilinear, at x + flow (lmb-freiburg/flownet2).

    Bottoms: image (N, C, H, W) and flow (N, 2, H, W), x and then y, in pixels. Places outside of [0, W) x [0, H) give
    fill_value, ZERO or NOT_A_NUMBER; between the last pixel's center and W or H that pixel is repeated. Both bottoms
    have a gradient.
    """

    bottoms: ClassVar[tuple[int, int | None]] = (2, 2)

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        image, flow = map(tuple, bottom_shapes)
        if len(image) != 4 or flow != (image[0], 2, *image[2:]):
            raise LayerError(f"an image of shape {image} needs a flow (N, 2, H, W) of its size, this one is {flow}")
        p = param.flow_warp_param
        self.fill = math.nan if p.fill_value == p.NOT_A_NUMBER else 0.0

    def macs(self, bottom_shapes: Sequence[Shape], top_shapes: Sequence[Shape]) -> int:
        """Four weighted values for each of the top."""
        return 4 * math.prod(top_shapes[0])

    def view(self, bottom: Shape, top: Shape) -> View:
        """A flow may lead anywhere."""
        return View(None)

    def forward(self, image: Tensor, flow: Tensor) -> Tensor:
        return flow_warp(image, flow, self.fill)
