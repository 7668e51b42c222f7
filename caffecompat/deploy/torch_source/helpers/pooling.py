"""Pooling in exported files over windows that torch does not have."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["count_windows", "cover_windows", "max_pool_with_places", "pool_windows", "pyramid_pool"]


def count_windows(x: Tensor, kernel: Sequence[int], stride: Sequence[int], pad: Sequence[int], ceil: bool) -> list[int]:
    """How many windows Caffe puts along height and width.

    With a pad the last one starts inside the plane or the pad before it; without, it may hang off the edge altogether.
    """
    counts = []
    for size, k, s, p in zip(x.shape[2:], kernel, stride, pad, strict=True):
        span = size + 2 * p - k
        count = (-(-span // s) if ceil else span // s) + 1
        if any(pad) and (count - 1) * s >= size + p:
            count -= 1
        counts.append(count)
    return counts


def cover_windows(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    pad: Sequence[int],
    counts: Sequence[int],
    fill: float,
) -> Tensor:
    """The plane padded (or cropped) to just what so many windows see."""
    margins = []
    for axis in (1, 0):
        span = (counts[axis] - 1) * stride[axis] + kernel[axis]
        margins += [pad[axis], span - x.shape[2 + axis] - pad[axis]]
    return F.pad(x, margins, value=fill)


def pool_windows(
    x: Tensor,
    method: str,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    pad: tuple[int, ...] = (0, 0),
    ceil: bool = True,
) -> Tensor:
    """Pool (N, C, H, W) over Caffe's windows.

    "max"; "average", where the pad counts as zeros and what lies beyond it not at all; "stochastic", sum(x^2) / sum(x).
    """
    counts = count_windows(x, kernel, stride, pad, ceil)
    lowest = torch.finfo(x.dtype).min
    seen = cover_windows(x, kernel, stride, pad, counts, lowest if method == "max" else 0.0)
    if method == "max":
        return F.max_pool2d(seen, kernel, stride)
    sums = F.avg_pool2d(seen, kernel, stride, divisor_override=1)
    if method == "stochastic":
        squares = F.avg_pool2d(seen.square(), kernel, stride, divisor_override=1)
        return torch.where(sums > 0, squares / torch.where(sums > 0, sums, 1), 0)
    lengths = []
    for axis in range(2):
        starts = torch.arange(counts[axis], device=x.device) * stride[axis] - pad[axis]
        lengths.append((starts + kernel[axis]).clamp(max=x.shape[2 + axis] + pad[axis]) - starts)
    return sums / torch.outer(lengths[0], lengths[1]).to(x.dtype)


def max_pool_with_places(
    x: Tensor,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    pad: tuple[int, ...] = (0, 0),
    ceil: bool = True,
) -> tuple[Tensor, Tensor]:
    """Maxima over Caffe's windows and where they are, as y W + x in the plane; -1 where a window sees nothing."""
    counts = count_windows(x, kernel, stride, pad, ceil)
    lowest = torch.finfo(x.dtype).min
    seen = cover_windows(x, kernel, stride, pad, counts, lowest)
    top, index = F.max_pool2d(seen, kernel, stride, return_indices=True)
    row, column = index // seen.shape[3] - pad[0], index % seen.shape[3] - pad[1]
    return top, (row * x.shape[3] + column).masked_fill(top == lowest, -1)


def pyramid_pool(x: Tensor, method: str, levels: int) -> Tensor:
    """Pool into 1 x 1, 2 x 2, 4 x 4, ... bins, one level after the other: (N, C * (1 + 4 + 16 + ...))."""
    pooled = []
    for bins in (2**level for level in range(levels)):
        kernel = tuple(math.ceil(size / bins) for size in x.shape[2:])
        pad = tuple((k * bins - size + 1) // 2 for k, size in zip(kernel, x.shape[2:], strict=True))
        pooled.append(pool_windows(x, method, kernel, kernel, pad))
    return pooled[0] if levels == 1 else torch.cat([level.flatten(1) for level in pooled], 1)
