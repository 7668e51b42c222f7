"""Concat and Slice, each the other's inverse."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from caffecompat.layers.layer import Context, Layer, LayerError, Shape, View
from caffecompat.layers.precision import Precision
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["Concat", "Slice"]


def _old_or_new_axis(layer: Layer, p: pb.SliceParameter | pb.ConcatParameter, old: str, shape: Shape) -> int:
    """The axis of Concat and Slice, which have an older name for it that cannot be negative."""
    if p.HasField(old):
        if p.HasField("axis"):
            raise LayerError(f"give either axis or {old} (its old name), not both")
        return layer.axis_index(getattr(p, old), shape, old)
    return layer.axis_index(p.axis, shape)


@register("Concat")
class Concat(Layer):
    """The bottoms one after the other along `axis` (old name concat_dim), by default the channels (BVLC)."""

    precision = Precision.HALF
    keeps_pixels: ClassVar[bool] = True
    detection_head: ClassVar[bool] = True
    bottoms: ClassVar[tuple[int, int | None]] = (1, None)

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        self.axis = _old_or_new_axis(self, param.concat_param, "concat_dim", bottom_shapes[0])
        self._check(bottom_shapes)

    def _check(self, shapes: Sequence[Shape]) -> None:
        first = tuple(shapes[0])
        for name, shape in zip(self.bottom_names, [tuple(shape) for shape in shapes], strict=True):
            if len(shape) != len(first):
                raise LayerError(
                    f"cannot concatenate {self.bottom_names[0]!r} of shape {first} with {name!r} of shape {shape}: "
                    f"they must have as many axes"
                )
            for axis, (a, b) in enumerate(zip(first, shape, strict=True)):
                if a != b and axis != self.axis:
                    raise LayerError(
                        f"cannot concatenate {self.bottom_names[0]!r} of shape {first} with {name!r} of shape {shape} "
                        f"along axis {self.axis}: they differ on axis {axis} ({a} and {b})"
                    )

    def view(self, bottom: Shape, top: Shape) -> View:
        """Pixels of the bottom as they are, some of them or more than those."""
        return View()

    def forward(self, *bottoms: Tensor) -> Tensor:
        if len(bottoms) == 1:
            return bottoms[0]
        self._check([bottom.shape for bottom in bottoms])
        return torch.cat(bottoms, self.axis)


@register("Slice")
class Slice(Layer):
    """Cuts the bottom along `axis` (old name slice_dim) at the slice_points, or into equal parts (BVLC)."""

    precision = Precision.HALF
    keeps_pixels: ClassVar[bool] = True
    tops: ClassVar[tuple[int, int | None]] = (1, None)

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        self.axis = _old_or_new_axis(self, param.slice_param, "slice_dim", bottom_shapes[0])
        self.points = list(param.slice_param.slice_point)
        self._sizes(bottom_shapes[0][self.axis])

    def _sizes(self, length: int) -> list[int]:
        """How long each top is on the axis."""
        points, tops = self.points, self.top_count
        if not points:
            if length % tops:
                raise LayerError(f"axis {self.axis} is {length} long, which {tops} tops cannot share equally")
            return [length // tops] * tops
        if len(points) != tops - 1:
            raise LayerError(f"{tops} tops need {tops - 1} slice_point values, there are {len(points)}: {points}")
        edges = [0, *points, length]
        sizes = [after - before for before, after in pairwise(edges)]
        if min(sizes) < 1:
            raise LayerError(f"slice_point values must rise from 1 to {length - 1} on axis {self.axis}, not {points}")
        return sizes

    def view(self, bottom: Shape, top: Shape) -> View:
        """Pixels of the bottom as they are, some of them or more than those."""
        return View()

    def forward(self, bottom: Tensor) -> Tensor | tuple[Tensor, ...]:
        parts: tuple[Tensor, ...] = bottom.split(self._sizes(bottom.shape[self.axis]), self.axis)
        return parts if len(parts) > 1 else parts[0]
