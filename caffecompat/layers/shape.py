"""Layers that move values without changing them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from caffecompat.layers.layer import Context, Layer, LayerError, Shape, View, values_known
from caffecompat.layers.precision import Precision
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = [
    "BatchReindex",
    "Filter",
    "Flatten",
    "Permute",
    "Reshape",
    "Silence",
    "Split",
    "Tile",
    "Transpose",
]


@register("Flatten")
class Flatten(Layer):
    """The axes from `axis` (default 1) to end_axis (default the last) become one, in (C, H, W) order (BVLC)."""

    precision = Precision.HALF
    detection_head: ClassVar[bool] = True

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        self.refuse_in_place()
        p, shape = param.flatten_param, bottom_shapes[0]
        self.axis, self.end = self.axis_index(p.axis, shape), self.axis_index(p.end_axis, shape, "end_axis")
        if self.axis > self.end:
            raise LayerError(f"axis {p.axis} comes after end_axis {p.end_axis} in a blob of shape {tuple(shape)}")

    def view(self, bottom: Shape, top: Shape) -> View | None:
        return View() if bottom[2:] == top[2:] else None

    def forward(self, bottom: Tensor) -> Tensor:
        return bottom.flatten(self.axis, self.end)


@register("Reshape")
class Reshape(Layer):
    """Replaces num_axes axes (-1: all) from `axis` on by the dims of `shape` (BVLC).

    A dim of 0 copies the size at the same place of the bottom, one dim of -1 is inferred. A negative
    `axis` counts from past the last axis, so that -1 appends. Values keep
    their (N, C, H, W) order.
    """

    precision = Precision.HALF
    detection_head: ClassVar[bool] = True

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        self.refuse_in_place()
        p = param.reshape_param
        self.start, self.count, self.dims = p.axis, p.num_axes, list(p.shape.dim)
        self._target(tuple(bottom_shapes[0]))

    def _target(self, shape: Shape) -> Shape:
        start = self.start if self.start >= 0 else len(shape) + self.start + 1
        if not 0 <= start <= len(shape):
            raise LayerError(f"axis {self.start} is not within a bottom of shape {shape}")
        if self.count < -1:
            raise LayerError(f"num_axes {self.count} must be -1 (all to the end) or the count of axes to replace")
        end = len(shape) if self.count == -1 else start + self.count
        if end > len(shape):
            raise LayerError(f"num_axes {self.count} from axis {start} reaches past a bottom of shape {shape}")
        dims = [self._size(dim, start + i, shape) for i, dim in enumerate(self.dims)]
        if dims.count(-1) > 1:
            raise LayerError(f"only one dim can be -1 (inferred), the shape asked for is {self.dims}")
        target = [*shape[:start], *dims, *shape[end:]]
        have, known = math.prod(shape), math.prod([size for size in target if size != -1])
        if have % known if -1 in target else have != known:
            asked = ", ".join(str(dim) for dim in self.dims)
            raise LayerError(
                f"a bottom of shape {shape} has {have} values, which do not fill dim: [{asked}] "
                f"(replacing axes {start} to {end}): {' x '.join(map(str, target))}"
            )
        return tuple([have // known if size == -1 else size for size in target])

    @staticmethod
    def _size(dim: int, axis: int, shape: Shape) -> int:
        if dim == 0:
            if axis >= len(shape):
                raise LayerError(f"a dim of 0 keeps axis {axis}, which a bottom of shape {shape} does not have")
            return shape[axis]
        if dim < -1:
            raise LayerError(f"dim {dim} must be a size, 0 (keep) or -1 (infer)")
        return dim

    def view(self, bottom: Shape, top: Shape) -> View | None:
        return View() if bottom[2:] == top[2:] else None

    def forward(self, bottom: Tensor) -> Tensor:
        return bottom.reshape(self._target(tuple(bottom.shape)))


@register("Split")
class Split(Layer):
    """Every top is the bottom, of any shape; gradients add up. Caffe inserts it where layers share a blob (BVLC)."""

    precision = Precision.HALF
    keeps_pixels: ClassVar[bool] = True
    tops: ClassVar[tuple[int, int | None]] = (1, None)

    def forward(self, bottom: Tensor) -> Tensor | tuple[Tensor, ...]:
        return (bottom,) * self.top_count if self.top_count > 1 else bottom


@register("Silence")
class Silence(Layer):
    """Takes blobs of any shapes that nothing else reads, so that they are no outputs of the net (BVLC)."""

    bottoms: ClassVar[tuple[int, int | None]] = (1, None)
    tops: ClassVar[tuple[int, int | None]] = (0, 0)

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return ()


@register("Permute")
class Permute(Layer):
    """Reorders the axes as `order` lists them; axes not listed follow in their own order (SSD)."""

    precision = Precision.HALF
    detection_head: ClassVar[bool] = True

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        self.order = self._order(len(bottom_shapes[0]))

    def _order(self, axes: int) -> list[int]:
        """Which axis of the bottom each of the top is."""
        order = list(self.param.permute_param.order)
        if len(set(order)) != len(order) or any(axis >= axes for axis in order):
            raise LayerError(f"order {order} must name axes 0 to {axes - 1}, each at most once")
        return order + [axis for axis in range(axes) if axis not in order]

    def view(self, bottom: Shape, top: Shape) -> View | None:
        return View() if self.order[2:] == [2, 3] else None

    def forward(self, bottom: Tensor) -> Tensor:
        return bottom.permute(self.order)


@register("Transpose")
class Transpose(Permute):
    """Reorders the axes: axis i of the top is axis dim(i) of the bottom; `dim` lists every axis once. Any shape.

    After dlunion/CC4.0 and tianzhi0549/caffe. Transpose layers of other Caffes, which swap two axes or have no
    settings, are not this one.
    """

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        self.refuse_in_place()

    def _order(self, axes: int) -> list[int]:
        dims = list(self.param.transpose_param.dim)
        if sorted(dims) != list(range(axes)):
            raise LayerError(f"transpose_param: dim {dims} must list each of the axes 0 to {axes - 1} once")
        return dims


@register("Tile")
class Tile(Layer):
    """The bottom `tiles` times, one after the other along `axis` (default 1) (BVLC)."""

    precision = Precision.HALF

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.tile_param
        self.axis = self.axis_index(p.axis, bottom_shapes[0])
        if p.tiles < 1:
            raise LayerError(f"tiles {p.tiles} must be at least 1" if p.HasField("tiles") else "tiles is missing")
        self.tiles = p.tiles

    def view(self, bottom: Shape, top: Shape) -> View:
        """Pixels of the bottom as they are, some of them or more than those."""
        return View()

    def forward(self, bottom: Tensor) -> Tensor:
        repeats = [1] * bottom.dim()
        repeats[self.axis] = self.tiles
        return bottom.repeat(repeats)


@register("BatchReindex")
class BatchReindex(Layer):
    """Top item i is item bottom1[i] of bottom 0; items may repeat or be left out (BVLC).

    bottom 0 (N, ...), bottom 1 (M) of numbers below N; top (M, ...).
    """

    index_bottoms: ClassVar[tuple[int, ...]] = (1,)
    bottoms: ClassVar[tuple[int, int | None]] = (2, 2)
    mixes_items = "its second bottom numbers the items of the batch"

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        if not bottom_shapes[0]:
            raise LayerError("the first bottom is a single value, not a batch of items")
        if len(bottom_shapes[1]) != 1:
            raise LayerError(f"the second bottom must be a list of numbers, its shape is {tuple(bottom_shapes[1])}")

    def sample_bottom(
        self, place: int, bottoms: Sequence[Shape], tops: Sequence[Shape], rng: np.random.Generator
    ) -> np.ndarray | None:
        """Numbers of items."""
        return rng.integers(0, bottoms[0][0], bottoms[1]) if place == 1 else None

    def needs_gradient(self, bottom_index: int) -> bool:
        return bottom_index == 0

    def view(self, bottom: Shape, top: Shape) -> View:
        """Pixels of the bottom as they are, some of them or more than those."""
        return View()

    def forward(self, bottom: Tensor, order: Tensor) -> Tensor:
        index = order.detach().to(torch.int64)
        if values_known(index) and index.numel():
            low, high = torch.stack(index.aminmax()).tolist()
            if low < 0 or high >= bottom.shape[0]:
                raise LayerError(
                    f"layer {self.param.name!r} ({self.type}): items {low} to {high} are asked for, the batch has "
                    f"items 0 to {bottom.shape[0] - 1}"
                )
        return bottom.index_select(0, index)


@register("Filter")
class Filter(Layer):
    """Keeps those items of the bottoms for which the last bottom, (N) or (N, 1, ...), is not 0 (BVLC).

    How many items the tops have depends on values. On meta tensors all N are kept.
    """

    untraceable: str = "how many items it lets through depends on the values"
    bottoms: ClassVar[tuple[int, int | None]] = (2, None)
    tops: ClassVar[tuple[int, int | None]] = (1, None)

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        *data, selector = bottom_shapes
        if self.top_count != len(data):
            raise LayerError(f"{len(data)} filtered bottoms need as many tops, there are {self.top_count}")
        if any(size != 1 for size in selector[1:]):
            raise LayerError(f"the selector must hold one value an item, its shape is {tuple(selector)}")
        for name, shape in zip(param.bottom, data, strict=False):
            if shape[0] != selector[0]:
                raise LayerError(f"{name!r} has {shape[0]} items, the selector {selector[0]}")

    def needs_gradient(self, bottom_index: int) -> bool:
        return bottom_index < self.top_count

    def view(self, bottom: Shape, top: Shape) -> View:
        """Pixels of the bottom as they are, some of them or more than those."""
        return View()

    def forward(self, *bottoms: Tensor) -> Tensor | tuple[Tensor, ...]:
        *data, selector = bottoms
        if not selector.is_meta:
            kept = selector.flatten().nonzero().flatten()
            data = [blob.index_select(0, kept) for blob in data]
        return tuple(data) if len(data) > 1 else data[0]
