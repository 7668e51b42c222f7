"""Pooling (MAX, AVE, STOCHASTIC) and SPP, which pools at several scales."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from caffecompat.layers.layer import Context, Layer, LayerError, Shape, View
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["LOWEST", "SPP", "Pooling", "Window"]

LOWEST = torch.finfo(torch.float32).min  # what Caffe's maximum of no values is


@dataclass(frozen=True)
class Window:
    """A pooling window: a number for each spatial axis, and Caffe's rule for how many fit (BVLC pooling_layer.cpp)."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...] = (1, 1)
    pad: tuple[int, ...] = (0, 0)
    ceil: bool = True
    clips: bool = True

    def counts(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """Windows along each axis: (in + 2 pad - k) / stride rounded, + 1.

        With a pad on any axis, and where the fork `clips`, the last window must start inside the image
        or the pad before it; without, it may hang off the edge altogether.
        """
        counts = []
        for size, k, s, p in zip(sizes, self.kernel, self.stride, self.pad, strict=True):
            span = size + 2 * p - k
            count = (-(-span // s) if self.ceil else span // s) + 1
            if self.clips and any(self.pad) and (count - 1) * s >= size + p:
                count -= 1
            counts.append(count)
        return tuple(counts)

    def torch_agrees(self, sizes: Sequence[int]) -> bool:
        """Whether torch's pooling has the same windows: it always wants them to start inside, and pad <= k / 2."""
        return all(
            2 * p <= k and (count - 1) * s < size + p
            for size, k, s, p, count in zip(sizes, self.kernel, self.stride, self.pad, self.counts(sizes), strict=True)
        )

    def cover(self, x: Tensor, value: float) -> Tensor:
        """`x` padded (or cropped) to just what the windows see, so that they fit without pad or rounding."""
        pairs = zip(self.pad, self.ends(x.shape[2:]), strict=True)
        return F.pad(x, [margin for pair in reversed(list(pairs)) for margin in pair], value=value)

    def ends(self, sizes: Sequence[int]) -> list[int]:
        """How far the last window reaches past the end of each axis; negative where it ends before that."""
        return [
            (count - 1) * s + k - size - p
            for size, k, s, p, count in zip(sizes, self.kernel, self.stride, self.pad, self.counts(sizes), strict=True)
        ]

    def areas(self, x: Tensor) -> Tensor:
        """Caffe's AVE divisors, of the tops' spatial shape: windows cut where the pad at the end ends.

        A window that starts there has 0 (its mean is 0 / 0), one that starts farther a negative length (0 / -n).
        """
        areas = torch.ones((), dtype=x.dtype, device=x.device)
        for size, k, s, p, count in zip(
            x.shape[2:], self.kernel, self.stride, self.pad, self.counts(x.shape[2:]), strict=True
        ):
            starts = torch.arange(count, dtype=x.dtype, device=x.device) * s - p
            areas = areas[..., None] * ((starts + k).clamp(max=size + p) - starts)
        return areas


def max_pool(x: Tensor, window: Window, with_mask: bool = False) -> tuple[Tensor, Tensor | None]:
    """Maxima and, if asked for, their positions h W + w in the input plane; the first of equals counts.

    A window without any value gives -FLT_MAX and position -1.
    """
    if window.torch_agrees(x.shape[2:]):
        kernel, stride, pad = window.kernel, window.stride, window.pad
        if not with_mask:
            return F.max_pool2d(x, kernel, stride, pad, ceil_mode=window.ceil), None
        top, index = F.max_pool2d(x, kernel, stride, pad, ceil_mode=window.ceil, return_indices=True)
        return top, index.to(x.dtype)
    top, index = F.max_pool2d(window.cover(x, LOWEST), window.kernel, window.stride, return_indices=True)
    if not with_mask:
        return top, None
    wide = window.cover(x[:1, :1], 0).shape[3]
    h, w = index // wide - window.pad[0], index % wide - window.pad[1]
    return top, (h * x.shape[3] + w).masked_fill(top == LOWEST, -1).to(x.dtype)


def average_pool(x: Tensor, window: Window) -> Tensor:
    """Means over the windows, pad counted as zeros, what lies beyond the pad not counted."""
    if window.kernel == tuple(x.shape[2:]) and window.counts(x.shape[2:]) == (1, 1) and not any(window.pad):
        return x.mean((2, 3), keepdim=True)
    if window.torch_agrees(x.shape[2:]):
        return F.avg_pool2d(x, window.kernel, window.stride, window.pad, ceil_mode=window.ceil)
    sums = F.avg_pool2d(window.cover(x, 0), window.kernel, window.stride, divisor_override=1)
    return sums / window.areas(x)


def stochastic_pool(x: Tensor, window: Window, training: bool) -> Tensor:
    """Zeiler and Fergus' pooling of values >= 0 (BVLC pooling_layer.cu; there is no pad).

    TRAIN picks each value of a window with a probability proportional to it, and the gradient goes
    to the picked value alone; TEST gives the expectation, sum(x^2) / sum(x), or 0 where all are 0.
    """
    n, c = x.shape[:2]
    out = window.counts(x.shape[2:])
    columns = F.unfold(window.cover(x, 0), window.kernel, stride=window.stride)
    columns = columns.view(n, c, window.kernel[0] * window.kernel[1], -1)
    if not training:
        total = columns.sum(2)
        expected = columns.square().sum(2) / torch.where(total > 0, total, 1)
        return torch.where(total > 0, expected, 0).view(n, c, *out)
    with torch.no_grad():
        rising = columns.cumsum(2)
        threshold = torch.rand_like(rising[:, :, -1:]) * rising[:, :, -1:]
        picked = (rising >= threshold).to(torch.uint8).argmax(2, keepdim=True)
    return columns.gather(2, picked).view(n, c, *out)


def _pair(p: Any, name: str, default: int) -> tuple[int, int]:
    """(h, w) from `name` or from its `_h` and `_w` forms, which must then both be there."""
    stem = name.removesuffix("_size")
    sides = [p.HasField(f"{stem}_{side}") for side in "hw"]
    if p.HasField(name) and any(sides):
        raise LayerError(f"give {name} or {stem}_h and {stem}_w, not both")
    if any(sides):
        if not all(sides):
            raise LayerError(f"{stem}_h and {stem}_w go together, only {stem}_{'hw'[sides.index(True)]} is given")
        return getattr(p, f"{stem}_h"), getattr(p, f"{stem}_w")
    value = getattr(p, name) if p.HasField(name) else default
    return value, value


@register("Pooling")
class Pooling(Layer):
    """MAX, AVE or STOCHASTIC pooling of (N, C, H, W).

    A second top of MAX is the mask: the position h W + w of each maximum in its input plane, as a
    float. Output sizes round up unless `round_mode: FLOOR`. `global_pooling` takes the whole plane,
    whatever its size. AVE is the plain mean in every fork.
    """

    mask_top: ClassVar[int | None] = 1
    keeps_forward: ClassVar[bool] = True
    tops: ClassVar[tuple[int, int | None]] = (1, 2)

    def __init__(self, param: Any, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p, shape = param.pooling_param, bottom_shapes[0]
        if len(shape) != 4:
            raise LayerError(f"Pooling takes (N, C, H, W), the bottom is {tuple(shape)}")
        self.method = p.pool
        if self.top_count == 2 and self.method != pb.PoolingParameter.MAX:
            raise LayerError("only MAX pooling has a second top (the mask)")
        self.whole_plane = p.global_pooling
        kernel, stride, pad = _pair(p, "kernel_size", 0), _pair(p, "stride", 1), _pair(p, "pad", 0)
        if self.whole_plane:
            if any(kernel):
                raise LayerError("global_pooling takes the whole plane; remove the kernel size")
            if any(pad) or stride != (1, 1):
                raise LayerError("global_pooling needs pad 0 and stride 1")
        self.window = Window(kernel, stride, pad, p.round_mode == pb.PoolingParameter.CEIL)
        self._check(self._window(shape), shape)
        if self.method == pb.PoolingParameter.AVE and any(pad) and not p.avg_include_pad:
            raise LayerError(
                "avg_include_pad: false (Intel's) is not supported: AVE divides by the window with its padding, as in "
                "BVLC's Caffe; remove the pad, or the field to compute so"
            )

    def _check(self, window: Window, shape: Shape) -> None:
        if 0 in window.kernel:
            raise LayerError("kernel_size (or kernel_h and kernel_w) is missing or zero")
        if 0 in window.stride:
            raise LayerError("stride must be at least 1")
        if any(window.pad) and self.method == pb.PoolingParameter.STOCHASTIC:
            raise LayerError("only MAX and AVE pooling can have a pad")
        if any(p >= k for p, k in zip(window.pad, window.kernel, strict=True)):
            raise LayerError(f"pad {window.pad} must be less than the kernel {window.kernel}")
        if min(window.counts(shape[2:])) < 1:
            raise LayerError(f"no window of {window.kernel} fits a bottom of shape {tuple(shape)}, pad {window.pad}")

    def _window(self, shape: Sequence[int]) -> Window:
        return Window((shape[2], shape[3])) if self.whole_plane else self.window

    def view(self, bottom: Shape, top: Shape) -> View:
        if self.whole_plane or tuple(self.window.kernel) == tuple(bottom[2:]):
            return View(None, (bottom[2], bottom[3]))
        (high, wide), (down, right) = self.window.kernel, self.window.stride
        return View((high, wide), (down, right))

    def forward(self, bottom: Tensor) -> Tensor | tuple[Tensor, ...]:
        window = self._window(bottom.shape)
        if self.method == pb.PoolingParameter.AVE:
            return average_pool(bottom, window)
        if self.method == pb.PoolingParameter.STOCHASTIC:
            return stochastic_pool(bottom, window, self.training)
        top, mask = max_pool(bottom, window, with_mask=self.top_count == 2)
        return top if mask is None else (top, mask)


@register("SPP")
class SPP(Layer):
    """Spatial pyramid pooling: level i pools (N, C, H, W) into 2^i x 2^i bins, and all bins follow each other.

    Top: (N, C x sum of 4^i), or (N, C, 1, 1) where pyramid_height is 1 (BVLC).
    """

    keeps_forward: ClassVar[bool] = True

    def __init__(self, param: Any, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p, shape = param.spp_param, bottom_shapes[0]
        if len(shape) != 4 or min(shape[2:]) < 1:
            raise LayerError(f"SPP takes (N, C, H, W), the bottom is {tuple(shape)}")
        if p.pyramid_height < 1:
            raise LayerError("pyramid_height is missing, it must be at least 1")
        self.levels, self.method = p.pyramid_height, p.pool
        for level in range(self.levels):
            self._window(level, shape)

    def view(self, bottom: Shape, top: Shape) -> View:
        return View(None, (bottom[2], bottom[3]))

    @staticmethod
    def _window(level: int, shape: Sequence[int]) -> Window:
        kernel = [math.ceil(size / 2**level) for size in shape[2:]]
        pad = [(k * 2**level - size + 1) // 2 for k, size in zip(kernel, shape[2:], strict=True)]
        if any(p >= k for p, k in zip(pad, kernel, strict=True)):
            raise LayerError(f"a bottom of shape {tuple(shape)} is too small for {2**level} x {2**level} bins")
        return Window((kernel[0], kernel[1]), (kernel[0], kernel[1]), (pad[0], pad[1]))

    def _pool(self, bottom: Tensor, window: Window) -> Tensor:
        if self.method == pb.SPPParameter.AVE:
            return average_pool(bottom, window)
        if self.method == pb.SPPParameter.STOCHASTIC:
            return stochastic_pool(bottom, window, self.training)
        return max_pool(bottom, window)[0]

    def forward(self, bottom: Tensor) -> Tensor:
        pooled = [self._pool(bottom, self._window(level, bottom.shape)) for level in range(self.levels)]
        return pooled[0] if self.levels == 1 else torch.cat([level.flatten(1) for level in pooled], 1)
