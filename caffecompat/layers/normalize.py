"""Normalize: SSD's L2 norm over channels with a learned scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from caffecompat.layers.functional.normalize import l2_norm
from caffecompat.layers.layer import Context, Layer, LayerError, Shape, View
from caffecompat.layers.precision import Precision
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["Normalize"]


@register("Normalize")
class Normalize(Layer):
    """x / sqrt(sum of x^2 + eps) times a learned scale (SSD).

    The sum is over channels, for each pixel, or with across_spatial (the default) over the whole item. Blob: scale,
    of shape () with channel_shared (the default), else (C). Bottom (N, C, ...).
    """

    precision = Precision.ROUNDED
    keeps_pixels: ClassVar[bool] = True
    scale: nn.Parameter

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        shape, p = bottom_shapes[0], param.norm_param
        if len(shape) < 2:
            raise LayerError(f"the bottom of shape {tuple(shape)} has no channels (axis 1)")
        filler = p.scale_filler if p.HasField("scale_filler") else pb.FillerParameter(type="constant", value=1)
        self.across_spatial, self.eps = p.across_spatial, p.eps
        self.add_blob("scale", () if p.channel_shared else (shape[1],), filler)

    def view(self, bottom: Shape, top: Shape) -> View:
        return View(None if self.across_spatial else (1, 1))

    def forward(self, bottom: Tensor) -> Tensor:
        return l2_norm(bottom, self.scale, self.eps, self.across_spatial)
