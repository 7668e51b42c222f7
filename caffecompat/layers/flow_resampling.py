"""FlowNet2's layers that change a map's size: Resample, Downsample, Accum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from caffecompat.layers.functional.weighted_resize import (
    downsample,
    resample,
    resample_axis,
    resample_nearest,
    thin_axis,
)
from caffecompat.layers.layer import Context, Layer, LayerError, Shape, View
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["Accum", "Downsample", "Resample"]


class _Resized(Layer):
    """Takes its size from the second bottom, where there is one, else from its settings."""

    bottoms: ClassVar[tuple[int, int | None]] = (1, 2)

    def __init__(
        self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context, given: tuple[int, int]
    ) -> None:
        super().__init__(param, bottom_shapes, context)
        if any(len(shape) != 4 for shape in bottom_shapes):
            shapes = " and ".join(str(tuple(shape)) for shape in bottom_shapes)
            raise LayerError(f"{self.type} needs bottoms (N, C, H, W), of shape {shapes}")
        self.given = given
        if len(bottom_shapes) == 1 and min(given) < 1:
            raise LayerError(f"{self.type} needs a height and a width of at least 1, or a second bottom of that size")

    def needs_gradient(self, bottom_index: int) -> bool:
        return bottom_index == 0

    def size(self, shapes: Sequence[Sequence[int]]) -> tuple[int, int]:
        """Height and width of the top over bottoms of those shapes."""
        return self.given if len(shapes) == 1 else (shapes[1][2], shapes[1][3])

    def macs(self, bottom_shapes: Sequence[Shape], top_shapes: Sequence[Shape]) -> int:
        """Four weighted values for each of the top."""
        return 4 * math.prod(top_shapes[0])


def _span(axis: tuple[Tensor, Tensor]) -> int:
    """How many places the widest window along an axis weighs (places and weights, see `resample_axis`)."""
    return int((axis[1].abs() > 1e-4).sum(1).max())


@register("Resample")
class Resample(_Resized):
    """(N, C, H, W) in width x height, or the size of a second bottom (lmb-freiburg/flownet2).

    A value of the top lies at x * W / W' + H / H' / 2 - 1/2 in the bottom and y * H / H' + W / W' / 2 - 1/2: the two
    factors are mixed up in the original, which shows where they differ. LINEAR and CUBIC (a = -1/2) weigh the pixels
    of a window around it that the bottom has, so that the weights sum to 1; with antialias, the default, windows widen
    by the factors of both axes as soon as one of them shrinks. A window without weight gives 0. NEAREST stays within
    the bottom, which the original may leave where factors differ. Gradients flow back, which the original lacks.
    """

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        p = param.resample_param
        super().__init__(param, bottom_shapes, context, (p.height, p.width))
        if p.type == p.AREA:
            raise LayerError("resample_param: type AREA has no definition in FlowNet2's Caffe; LINEAR with antialias")
        self.kind = {p.NEAREST: "nearest", p.LINEAR: "linear", p.CUBIC: "cubic"}[p.type]
        self.antialias = p.antialias

    def view(self, bottom: Shape, top: Shape) -> View:
        factors = bottom[2] / top[2], bottom[3] / top[3]
        if self.kind == "nearest":
            return View((1, 1), factors)
        cubic, wide = self.kind == "cubic", self.antialias and max(factors) > 1
        high = _span(resample_axis(bottom[2], top[2], factors[1], cubic, wide))
        return View((high, _span(resample_axis(bottom[3], top[3], factors[0], cubic, wide))), factors)

    def forward(self, *bottoms: Tensor) -> Tensor:
        size = self.size([bottom.shape for bottom in bottoms])
        if self.kind == "nearest":
            return resample_nearest(bottoms[0], size)
        return resample(bottoms[0], size, self.kind == "cubic", self.antialias)


@register("Downsample")
class Downsample(_Resized):
    """(N, C, H, W) in top_width x top_height, or the size of a second bottom; NaN is left out (lmb-freiburg/flownet2).

    Corners stay corners. A value of the top is the mean of a triangle window as wide as two steps of the top, of those
    pixels that are no NaN; it is NaN where they have less than twice the weight of the others. The same size gives
    the bottom itself. Gradients flow back, which the original lacks.
    """

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        p = param.downsample_param
        super().__init__(param, bottom_shapes, context, (p.top_height, p.top_width))
        bottom, top = tuple(bottom_shapes[0][2:]), self.size(bottom_shapes)
        if bottom != top and min(*bottom, *top) < 2:
            raise LayerError(
                f"Downsample keeps corners, which {bottom} to {top} (height, width) has not: 2 or more each"
            )

    def view(self, bottom: Shape, top: Shape) -> View:
        if bottom[2:] == top[2:]:
            return View()
        (high, down), (wide, across) = (
            (_span(thin_axis(before, after)), (before - 1) / (after - 1))
            for before, after in zip(bottom[2:], top[2:], strict=True)
        )
        return View((high, wide), (down, across))

    def forward(self, *bottoms: Tensor) -> Tensor:
        return downsample(bottoms[0], self.size([bottom.shape for bottom in bottoms]))


@register("Accum")
class Accum(Layer):
    """All bottoms (N, C, H, W) in one size, bilinear with corners on corners, one after the other along the channels.

    After the older lmb-freiburg/flownet2 (accum_layer.cpp). The size is that of the last bottom with have_reference,
    which then is no part of the top; else top_height x top_width (or the largest bottom's sides, rounded up to a
    multiple of size_divisible_by) where both are above those of the largest bottom, else the largest bottom's.
    """

    bottoms: ClassVar[tuple[int, int | None]] = (1, None)

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.accum_param
        self.reference = p.have_reference
        self.stated = p.top_height, p.top_width
        self.multiple = max(1, p.size_divisible_by) if p.HasField("size_divisible_by") else None
        if self.reference and len(bottom_shapes) < 2:
            raise LayerError("have_reference: true needs at least two bottoms, the last one gives the size")
        for shape in bottom_shapes:
            if len(shape) != 4 or shape[0] != bottom_shapes[0][0]:
                raise LayerError(f"bottoms must be (N, C, H, W) with one N; one has shape {tuple(shape)}")

    def size(self, shapes: Sequence[Sequence[int]]) -> tuple[int, int]:
        """Height and width of the top over bottoms of those shapes."""
        if self.reference:
            return shapes[-1][2], shapes[-1][3]
        largest = max(shape[2] for shape in shapes), max(shape[3] for shape in shapes)
        given = self.stated
        if self.multiple is not None:
            given = -(-largest[0] // self.multiple) * self.multiple, -(-largest[1] // self.multiple) * self.multiple
        return given if given[0] > largest[0] and given[1] > largest[1] else largest

    def needs_gradient(self, bottom_index: int) -> bool:
        return not self.reference or bottom_index < len(self.param.bottom) - 1

    def view(self, bottom: Shape, top: Shape) -> View:
        """Corners stay corners, so that in - 1 steps become out - 1."""
        sides = list(zip(bottom[2:], top[2:], strict=True))
        down, across = (
            (before - 1) / (after - 1) if min(before, after) > 1 else before / after for before, after in sides
        )
        high, wide = (1 if stride % 1 == 0 else 2 for stride in (down, across))
        return View((high, wide), (down, across))

    def forward(self, *bottoms: Tensor) -> Tensor:
        size = self.size([bottom.shape for bottom in bottoms])
        parts = bottoms[:-1] if self.reference else bottoms
        return torch.cat([F.interpolate(part, size, mode="bilinear", align_corners=True) for part in parts], 1)
