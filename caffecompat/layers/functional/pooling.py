"""Pooling over Caffe's windows, of which more fit than of torch's (BVLC pooling_layer.cpp)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "LOWEST",
    "Window",
    "average_pool",
    "max_pool",
    "max_pool_with_indices",
    "pyramid_pool",
    "pyramid_window",
    "stochastic_pool",
]

LOWEST = torch.finfo(torch.float32).min  # what Caffe's maximum of no values is


@dataclass(frozen=True)
class Window:
    """A pooling window: a number for each spatial axis, and Caffe's rule for how many fit.

    Attributes:
        kernel, stride, pad: in pixels, for each axis.
        ceil: whether a window that the end of the plane cuts counts, too.
        clips: whether, with a pad, the last window must start inside the plane or the pad before it.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...] = (1, 1)
    pad: tuple[int, ...] = (0, 0)
    ceil: bool = True
    clips: bool = True

    def counts(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """Windows along each axis: (in + 2 pad - k) / stride rounded, + 1.

        Where it does not clip, or has no pad on any axis, the last window may hang off the edge altogether.
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
        """What Caffe divides the sums of average pooling by, (H_out, W_out): windows cut where the pad at the end ends.

        A window that starts there has 0 (its mean is 0 / 0), one that starts farther a negative length (0 / -n).
        """
        areas = torch.ones((), dtype=x.dtype, device=x.device)
        for size, k, s, p, count in zip(
            x.shape[2:], self.kernel, self.stride, self.pad, self.counts(x.shape[2:]), strict=True
        ):
            starts = torch.arange(count, dtype=x.dtype, device=x.device) * s - p
            areas = areas[..., None] * ((starts + k).clamp(max=size + p) - starts)
        return areas


def max_pool(x: Tensor, window: Window) -> Tensor:
    """Maxima over the windows of (N, C, H, W); -FLT_MAX where a window sees no value."""
    if window.torch_agrees(x.shape[2:]):
        return F.max_pool2d(x, window.kernel, window.stride, window.pad, ceil_mode=window.ceil)
    lowest = max(LOWEST, torch.finfo(x.dtype).min)  # 16 bits hold none so low
    return F.max_pool2d(window.cover(x, lowest), window.kernel, window.stride)


def max_pool_with_indices(x: Tensor, window: Window) -> tuple[Tensor, Tensor]:
    """Maxima and their int64 places y W + x in the plane, of equal ones the first; -1 where a window sees no value."""
    if window.torch_agrees(x.shape[2:]):
        return F.max_pool2d(x, window.kernel, window.stride, window.pad, ceil_mode=window.ceil, return_indices=True)
    seen = window.cover(x, LOWEST)
    top, index = F.max_pool2d(seen, window.kernel, window.stride, return_indices=True)
    row, column = index // seen.shape[3] - window.pad[0], index % seen.shape[3] - window.pad[1]
    return top, (row * x.shape[3] + column).masked_fill(top == LOWEST, -1)


def average_pool(x: Tensor, window: Window) -> Tensor:
    """Means over the windows of (N, C, H, W), pad counted as zeros, what lies beyond the pad not counted."""
    if window.kernel == tuple(x.shape[2:]) and window.counts(x.shape[2:]) == (1, 1) and not any(window.pad):
        return x.mean((2, 3), keepdim=True)
    if window.torch_agrees(x.shape[2:]):
        return F.avg_pool2d(x, window.kernel, window.stride, window.pad, ceil_mode=window.ceil)
    sums = F.avg_pool2d(window.cover(x, 0), window.kernel, window.stride, divisor_override=1)
    return sums / window.areas(x)


def stochastic_pool(x: Tensor, window: Window, training: bool = False) -> Tensor:
    """Zeiler and Fergus' pooling of (N, C, H, W), values >= 0 (BVLC pooling_layer.cu; there is no pad).

    In training a value of each window is picked with a probability proportional to it, and the gradient goes to the
    picked value alone; else the expectation is given, sum(x^2) / sum(x), or 0 where all are 0.
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


def pyramid_window(sizes: Sequence[int], bins: int) -> Window:
    """The window that cuts a plane of (height, width) into bins x bins."""
    kernel = tuple(math.ceil(size / bins) for size in sizes)
    pad = tuple((k * bins - size + 1) // 2 for k, size in zip(kernel, sizes, strict=True))
    return Window(kernel, kernel, pad)


def pyramid_pool(x: Tensor, levels: int, pool: Callable[[Tensor, Window], Tensor]) -> Tensor:
    """Pool (N, C, H, W) into 1 x 1, 2 x 2, 4 x 4, ... bins, one level after the other: (N, C * (1 + 4 + 16 + ...)).

    One level alone stays (N, C, 1, 1).
    """
    pooled = [pool(x, pyramid_window(x.shape[2:], 2**level)) for level in range(levels)]
    return pooled[0] if levels == 1 else torch.cat([level.flatten(1) for level in pooled], 1)
