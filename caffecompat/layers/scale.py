"""Scale and Bias: multiply or add along some of the axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from caffecompat.layers.functional.scale import affine
from caffecompat.layers.layer import Context, Layer, LayerError, Shape
from caffecompat.layers.precision import Precision
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["Bias", "Scale"]


class _AlongAxes(Layer):
    """The operand covers the axes `axis` to `axis + num_axes` of bottom 0.

    It is a learned blob, or bottom 1 where there is one (then its own shape
    counts, not num_axes). num_axes -1 is all to the end, 0 a single value.
    """

    precision = Precision.ROUNDED
    channel_affine: ClassVar[bool] = True
    bottoms: ClassVar[tuple[int, int | None]] = (1, 2)

    def _operand_shape(self, p: pb.ScaleParameter | pb.BiasParameter, bottom_shapes: Sequence[Shape]) -> Shape:
        shape = tuple(bottom_shapes[0])
        if len(bottom_shapes) == 2:
            operand = tuple(bottom_shapes[1])
            # A single value fits anywhere, whatever `axis` says.
            self.axis = self.axis_index(p.axis, shape) if operand else 0
        else:
            self.axis = self.axis_index(p.axis, shape)
            if p.num_axes < -1:
                raise LayerError(f"num_axes {p.num_axes} must be -1 (all to the end) or the count of axes")
            end = len(shape) if p.num_axes == -1 else self.axis + p.num_axes
            if end > len(shape):
                raise LayerError(f"num_axes {p.num_axes} from axis {self.axis} reaches past a bottom of shape {shape}")
            operand = shape[self.axis : end]
        if shape[self.axis : self.axis + len(operand)] != operand:
            raise LayerError(f"a second bottom of shape {operand} does not cover axis {self.axis} on of {shape}")
        return operand

    def _spread(self, operand: Tensor, bottom: Tensor) -> Tensor:
        """The operand with axes of size 1 appended, so that it broadcasts from the bottom's `axis`."""
        return operand.reshape(operand.shape + (1,) * (bottom.dim() - self.axis - operand.dim()))

    def affine(
        self, parts: Mapping[str, np.ndarray], shape: Shape, running_statistics: bool = False
    ) -> tuple[np.ndarray, np.ndarray] | str:
        size = next((part.size for part in parts.values()), 0)
        if self.axis != 1 or len(shape) < 2 or size != shape[1]:
            return super().affine(parts, shape)
        zeros = np.zeros(size)
        return parts.get("scale", zeros + 1), parts.get("bias", zeros)

    def macs(self, bottom_shapes: Sequence[Shape], top_shapes: Sequence[Shape]) -> int:
        """One operation a value."""
        return math.prod(top_shapes[0])


@register("Scale")
class Scale(_AlongAxes):
    """top = bottom x scale (+ bias). Blobs: scale (filler default 1) unless it is bottom 1; bias with bias_term.

    Both have the shape of the axes they cover, with the defaults (C) (BVLC).

    `applied_before`: the BatchNorm that made the bottom has done it already (`caffecompat.net.shortcuts`).
    """

    applied_before: bool = False
    frees_top: ClassVar[bool] = True
    keeps_pixels: ClassVar[bool] = True
    scale: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.scale_param
        shape = self._operand_shape(p, bottom_shapes)
        if len(bottom_shapes) == 1:
            self.add_blob("scale", shape, p.filler if p.HasField("filler") else None)
            if not p.HasField("filler"):
                torch.nn.init.ones_(self.scale)
        if p.bias_term:
            self.add_blob("bias", shape, p.bias_filler)
        else:
            self.register_parameter("bias", None)

    def forward(self, bottom: Tensor, factor: Tensor | None = None) -> Tensor:
        if self.applied_before:
            return bottom
        scale = self._spread(self.scale if factor is None else factor, bottom)
        return affine(bottom, scale, None if self.bias is None else self._spread(self.bias, bottom))


@register("Bias")
class Bias(_AlongAxes):
    """top = bottom + bias; the bias is a blob (filler default 0) or bottom 1 (BVLC)."""

    keeps_pixels: ClassVar[bool] = True
    bias: nn.Parameter

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.bias_param
        shape = self._operand_shape(p, bottom_shapes)
        if len(bottom_shapes) == 1:
            self.add_blob("bias", shape, p.filler)

    def forward(self, bottom: Tensor, term: Tensor | None = None) -> Tensor:
        return affine(bottom, bias=self._spread(self.bias if term is None else term, bottom))
