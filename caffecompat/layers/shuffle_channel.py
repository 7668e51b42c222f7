"""ShuffleChannel: channels of several groups taken in turn."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from caffecompat.layers.layer import Context, Layer, LayerError, Shape, View
from caffecompat.layers.precision import Precision
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["ShuffleChannel"]


@register("ShuffleChannel")
class ShuffleChannel(Layer):
    """Channel c of group g, of `group` groups of C / group, goes to c x group + g (farmingyard/ShuffleNet).

    The bottom is (N, C, ...).
    """

    precision = Precision.HALF

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        self.group, shape = param.shuffle_channel_param.group, bottom_shapes[0]
        if len(shape) != 4:
            raise LayerError(f"ShuffleChannel takes (N, C, H, W), the bottom is {tuple(shape)}")
        if self.group < 1 or shape[1] % self.group:
            raise LayerError(f"group {self.group} must divide the bottom's {shape[1]} channels")

    def view(self, bottom: Shape, top: Shape) -> View:
        return View()

    def forward(self, bottom: Tensor) -> Tensor:
        return F.channel_shuffle(bottom, self.group)
