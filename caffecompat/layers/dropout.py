"""Dropout, in the forms that Caffes give it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from caffecompat.layers.layer import Context, Layer, LayerError, Shape
from caffecompat.layers.precision import Precision
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["Dropout"]


@register("Dropout")
class Dropout(Layer):
    """TRAIN: each value is dropped with probability dropout_ratio, the others scaled by 1 / (1 - ratio).

    TEST passes the bottom on, unless `sample_weights_test` (ENet fork) asks for
    dropping there too. The mask comes from torch's default generator.

    `scale_train: false` (rbgirshick/caffe-fast-rcnn) scales in the other phase: TRAIN leaves the kept values as they
    are, TEST multiplies all by 1 - ratio.
    """

    precision = Precision.HALF
    keeps_pixels: ClassVar[bool] = True
    detection_head: ClassVar[bool] = True
    keeps_forward: ClassVar[bool] = True

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.dropout_param
        self.ratio, self.always = p.dropout_ratio, p.sample_weights_test
        if not 0 <= self.ratio < 1:
            raise LayerError(f"dropout_ratio {self.ratio:g} must be at least 0 and below 1")
        self.factor = 1.0 if p.scale_train else 1 - self.ratio

    @classmethod
    def passes_on(cls, param: pb.LayerParameter) -> bool:
        return param.dropout_param.scale_train and not param.dropout_param.sample_weights_test

    def forward(self, bottom: Tensor) -> Tensor:
        top = F.dropout(bottom, self.ratio, self.training or self.always)
        return top if self.factor == 1 else top * self.factor
