"""DropPath: stochastic depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from caffecompat.layers.functional.drop_path import drop_path
from caffecompat.layers.layer import Context, Layer, LayerError, Shape
from caffecompat.layers.precision import Precision
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["DropPath"]


@register("DropPath")
class DropPath(Layer):
    """TRAIN: each item (axis 0) is 0 with probability drop_prob, else divided by 1 - drop_prob. TEST passes it on.

    Ours, with the definition of Huang et al., "Deep Networks with Stochastic Depth", as timm's DropPath has it: it is
    the last layer of a residual branch, before the Eltwise that adds the shortcut. Bottom and top: any shape (N, ...).
    The mask comes from torch's default generator.
    """

    keeps_pixels: ClassVar[bool] = True
    detection_head: ClassVar[bool] = True
    keeps_forward: ClassVar[bool] = True
    precision = Precision.HALF

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        if not param.drop_path_param.HasField("drop_prob"):
            raise LayerError("drop_path_param needs drop_prob, the share of the items that are left out")
        self.probability = param.drop_path_param.drop_prob
        if not 0 <= self.probability < 1:
            raise LayerError(f"drop_prob {self.probability:g} must be at least 0 and below 1")
        if not bottom_shapes[0]:
            raise LayerError("DropPath drops items of the first axis, its bottom is a single value")

    @classmethod
    def passes_on(cls, param: pb.LayerParameter) -> bool:
        return True

    def forward(self, bottom: Tensor) -> Tensor:
        return drop_path(bottom, self.probability, self.training)
