"""Crop, and AutoCrop, whose place in its bottom the net finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from caffecompat.layers.layer import Context, Layer, LayerError, Shape, View
from caffecompat.layers.precision import Precision
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["AutoCrop", "Crop"]


@register("Crop")
class Crop(Layer):
    """Cuts bottom 0 to the size of bottom 1 on `axis` (default 2) and all axes after it (BVLC).

    `offset` says where the cut begins: none is 0, one counts for all those axes,
    or one an axis. Only bottom 0 gets a gradient.
    """

    precision = Precision.HALF
    bottoms: ClassVar[tuple[int, int | None]] = (2, 2)

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        shape, p = bottom_shapes[0], param.crop_param
        self.axis = self.axis_index(p.axis, shape)
        axes = len(shape) - self.axis
        if len(p.offset) not in (0, 1, axes):
            raise LayerError(f"{len(p.offset)} offset values for {axes} cropped axes; give none, one, or one an axis")
        self.offsets = list(p.offset) if len(p.offset) == axes else [p.offset[0] if p.offset else 0] * axes
        self._check(bottom_shapes[0], bottom_shapes[1])

    def _check(self, shape: Shape, reference: Shape) -> None:
        if len(shape) != len(reference):
            raise LayerError(f"both bottoms must have as many axes: {tuple(shape)} and {tuple(reference)}")
        for axis, offset in enumerate(self.offsets, self.axis):
            if offset + reference[axis] > shape[axis]:
                raise LayerError(
                    f"axis {axis}: {reference[axis]} values from offset {offset} on are more than the bottom has, "
                    f"{shape[axis]} (shapes {tuple(shape)} and {tuple(reference)})"
                )

    def needs_gradient(self, bottom_index: int) -> bool:
        return bottom_index == 0

    def view(self, bottom: Shape, top: Shape) -> View:
        """Pixels of the bottom as they are, some of them or more than those."""
        return View()

    def forward(self, bottom: Tensor, reference: Tensor) -> Tensor:
        self._check(bottom.shape, reference.shape)
        for axis, offset in enumerate(self.offsets, self.axis):
            bottom = bottom.narrow(axis, offset, reference.shape[axis])
        return bottom


@register("AutoCrop")
class AutoCrop(Crop):
    """Cuts bottom 0 to the height and width of bottom 1, where bottom 1 lies in it (RCF auto_crop_layer.cpp).

    (N, C, H, W) and (N, C', h, w) give (N, C, h, w).

    In FCN's and HED's Caffe this is Crop without crop_param. The net, which knows how both bottoms came about, gives
    the layer its crop_param (caffecompat.net.alignment).
    """
