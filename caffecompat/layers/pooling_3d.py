"""Pooling3D: pooling over depth (time), height and width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from caffecompat.layers.functional.pooling import Window
from caffecompat.layers.functional.pooling_3d import average_pool_3d, max_pool_3d
from caffecompat.layers.layer import Context, Layer, LayerError, Shape
from caffecompat.layers.pooling import precision_of
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["Pooling3D"]


@register("Pooling3D")
class Pooling3D(Layer):
    """MAX or AVE pooling of (N, C, L, H, W), after facebookarchive/C3D (v1.0, pool3d_layer.cpp).

    Windows of kernel_depth x kernel_size x kernel_size; on each axis ceil((in + 2 pad - k) / stride) + 1 of them.
    Only AVE has a pad, on height and width. The gradient of MAX goes to every value of a window that equals the
    maximum.
    """

    keeps_forward: ClassVar[bool] = True

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p, shape = param.pooling_param, bottom_shapes[0]
        if len(shape) != 5:
            raise LayerError(f"Pooling3D takes (N, C, L, H, W), the bottom is {tuple(shape)}")
        if p.pool == pb.PoolingParameter.STOCHASTIC:
            raise LayerError("Pooling3D is MAX or AVE; STOCHASTIC is not implemented in C3D either")
        if not p.kernel_depth or not p.kernel_size:
            raise LayerError("kernel_depth or kernel_size is missing or zero")
        if not p.stride or not p.temporal_stride:
            raise LayerError("stride and temporal_stride must be at least 1")
        self.averages = p.pool == pb.PoolingParameter.AVE
        self.precision = precision_of(p.pool)
        if p.pad and not self.averages:
            raise LayerError(f"only AVE pooling can have a pad, as in C3D; pad is {p.pad}")
        if p.pad >= p.kernel_size:
            raise LayerError(f"pad {p.pad} must be less than kernel_size {p.kernel_size}")
        self.window = Window(
            (p.kernel_depth, p.kernel_size, p.kernel_size),
            (p.temporal_stride, p.stride, p.stride),
            (0, p.pad, p.pad),
            clips=False,
        )
        if min(self.window.counts(shape[2:])) < 1:
            raise LayerError(f"no window of {self.window.kernel} fits a bottom of shape {tuple(shape)}")

    def forward(self, bottom: Tensor) -> Tensor:
        return (average_pool_3d if self.averages else max_pool_3d)(bottom, self.window)
