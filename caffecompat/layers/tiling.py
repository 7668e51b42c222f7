"""Tiling, GSTiling, Reorg: layers that exchange channels for resolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from caffecompat.layers.functional.tiling import blocks_to_pixels, darknet_reorg, pixels_to_blocks
from caffecompat.layers.layer import Context, Layer, LayerError, Shape, View
from caffecompat.layers.precision import Precision
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["GSTiling", "Reorg", "Tiling"]


class _Rearrangement(Layer):
    """Exchanges channels for resolution in blocks of `side` x `side`."""

    precision = Precision.HALF
    side: int

    def view(self, bottom: Shape, top: Shape) -> View:
        """Blocks of pixels, or parts of one; of Reorg's forward way what it is meant to be."""
        if top[2] > bottom[2]:
            return View((1, 1), (1 / self.side, 1 / self.side))
        return View((self.side, self.side), (self.side, self.side))

    def _check(self, name: str, shape: Shape, *, channels: bool, pixels: bool) -> None:
        """Check the side and that it divides what is exchanged."""
        if len(shape) != 4:
            raise LayerError(f"{self.type} needs a bottom (N, C, H, W), it has shape {tuple(shape)}")
        if self.side < 1:
            raise LayerError(f"{name} must be at least 1, it is {self.side}")
        if channels and shape[1] % self.side**2:
            raise LayerError(f"{shape[1]} channels are no multiple of {name} squared, {self.side**2}")
        if pixels and (shape[2] % self.side or shape[3] % self.side):
            raise LayerError(f"height and width of {tuple(shape)} must be multiples of {name} {self.side}")


@register("Tiling")
class Tiling(_Rearrangement):
    """(N, C, H, W) to (N, C / d^2, d H, d W), d = tile_dim: channel c d^2 + y d + x is pixel (y, x) of c (Xilinx)."""

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        self.side = param.tiling_param.tile_dim
        self._check("tile_dim", bottom_shapes[0], channels=True, pixels=False)

    def forward(self, bottom: Tensor) -> Tensor:
        return F.pixel_shuffle(bottom, self.side)


@register("GSTiling")
class GSTiling(_Rearrangement):
    """(N, C, H, W) to (N, s^2 C, H / s, W / s), channel (y s + x) C + c holding pixel (y, x) of a block (Xilinx).

    `reverse: true` is the inverse.
    """

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.gs_tiling_param
        self.side, self.reverse = p.stride, p.reverse
        self._check("stride", bottom_shapes[0], channels=p.reverse, pixels=not p.reverse)

    def forward(self, bottom: Tensor) -> Tensor:
        return blocks_to_pixels(bottom, self.side) if self.reverse else pixels_to_blocks(bottom, self.side)


@register("Reorg")
class Reorg(_Rearrangement):
    """YOLO's reorg with stride s, as darknet and Xilinx compute it.

    `reverse: true` brings (N, C, H, W) to (N, C / s^2, s H, s W), channel (y s + x) C' + c holding
    pixel (y, x) of a block. Forward the top has the shape (N, s^2 C, H / s, W / s), but the values
    are those of the bottom read as (C / s^2, s H, s W) in memory: no plain space to depth.
    """

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.reorg_param
        self.side, self.reverse = p.stride, p.reverse
        self._check("stride", bottom_shapes[0], channels=True, pixels=not p.reverse)

    def forward(self, bottom: Tensor) -> Tensor:
        if self.reverse:
            return blocks_to_pixels(bottom, self.side)
        return darknet_reorg(bottom, self.side)
