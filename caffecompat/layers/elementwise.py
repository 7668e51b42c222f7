"""Eltwise and Axpy: layers that combine bottoms value by value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from caffecompat.layers.layer import Context, Layer, LayerError, Shape
from caffecompat.layers.precision import Precision
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["Axpy", "Eltwise"]


@register("Eltwise")
class Eltwise(Layer):
    """SUM (each bottom times its coeff), PROD or MAX of bottoms of one shape (BVLC).

    One bottom will do, as in FlowNet2's Caffe, whose nets scale by the coeff of one; BVLC's wants two.

    In MAX the gradient goes to one bottom; of equal values that is the second of the first two
    bottoms, but the earlier one against any further bottom. PROD differentiates as the product of
    the other bottoms; Caffe's `stable_prod_grad: false` computes the same by a division, and
    differs from it only by giving NaN where a bottom is 0.
    """

    precision = Precision.HALF
    keeps_pixels: ClassVar[bool] = True
    bottoms: ClassVar[tuple[int, int | None]] = (1, None)

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.eltwise_param
        if p.coeff and len(p.coeff) != len(bottom_shapes):
            raise LayerError(f"{len(p.coeff)} coeff for {len(bottom_shapes)} bottoms; give one each, or none")
        if p.coeff and p.operation == p.PROD:
            raise LayerError("coeff belongs to the operation SUM, this one is PROD")
        self.operation = p.EltwiseOp.Name(p.operation)
        self.coeffs = list(p.coeff) or [1.0] * len(bottom_shapes)
        _same_shape(self.bottom_names, bottom_shapes)

    def forward(self, *bottoms: Tensor) -> Tensor:
        _same_shape(self.bottom_names, [bottom.shape for bottom in bottoms])
        if self.operation == "SUM":
            return self._sum(bottoms)
        top, *others = bottoms
        if not others:
            return top
        if self.operation == "PROD":
            for other in others:
                top = top * other
            return top
        top = torch.where(top > others[0], top, others[0])
        for other in others[1:]:
            top = torch.where(other > top, other, top)
        return top

    def _sum(self, bottoms: tuple[Tensor, ...]) -> Tensor:
        top = bottoms[0] if self.coeffs[0] == 1 else bottoms[0] * self.coeffs[0]
        for bottom, coeff in zip(bottoms[1:], self.coeffs[1:], strict=True):
            top = torch.add(top, bottom, alpha=coeff)
        return top


def _same_shape(names: Sequence[str], shapes: Sequence[Shape]) -> None:
    for index, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise LayerError(
                f"the bottoms must have one shape: {names[0]!r} is {tuple(shapes[0])}, "
                f"{names[index]!r} is {tuple(shape)}"
            )


@register("Axpy")
class Axpy(Layer):
    """a x + y with a factor a channel: a (N, C) or (N, C, 1, 1), x and y (N, C, H, W) (Jacinto)."""

    precision = Precision.HALF
    bottoms: ClassVar[tuple[int, int | None]] = (3, 3)

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        factor, x, y = bottom_shapes
        if tuple(x) != tuple(y):
            raise LayerError(f"the second and third bottom must have one shape: {tuple(x)} and {tuple(y)}")
        if tuple(factor[:2]) != tuple(x[:2]) or any(size != 1 for size in factor[2:]):
            raise LayerError(f"the first bottom, {tuple(factor)}, must hold one value a channel of {tuple(x)}")

    def forward(self, factor: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return torch.addcmul(y, factor.reshape(x.shape[:2] + (1,) * (x.dim() - 2)), x)
