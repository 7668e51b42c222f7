"""Pooling, resizing and rearranging as Caffe does it, where torch has another rule; written into exported files.

Each stands on torch alone, and on those of its file that `NEEDS` names; nothing else of this package may be used.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "blocks_to_pixels",
    "count_windows",
    "cover_windows",
    "darknet_reorg",
    "im2col",
    "max_pool_with_places",
    "pixels_to_blocks",
    "pool_windows",
    "pyramid_pool",
    "resize_by_corners",
    "resize_nearest",
    "unpool",
]

NEEDS = {
    "cover_windows": ("count_windows",),
    "pool_windows": ("count_windows", "cover_windows"),
    "max_pool_with_places": ("count_windows", "cover_windows"),
    "pyramid_pool": ("count_windows", "cover_windows", "pool_windows"),
    "darknet_reorg": ("pixels_to_blocks",),
}


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
    """Pool into 1 x 1, 2 x 2, 4 x 4, ... bins, one level behind the other: (N, C * (1 + 4 + 16 + ...))."""
    pooled = []
    for bins in (2**level for level in range(levels)):
        kernel = tuple(math.ceil(size / bins) for size in x.shape[2:])
        pad = tuple((k * bins - size + 1) // 2 for k, size in zip(kernel, x.shape[2:], strict=True))
        pooled.append(pool_windows(x, method, kernel, kernel, pad))
    return pooled[0] if levels == 1 else torch.cat([level.flatten(1) for level in pooled], 1)


def im2col(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    pad: Sequence[int],
    dilation: Sequence[int],
    axis: int = 1,
) -> Tensor:
    """Each window laid out along the channels (on axis): (..., C, in...) -> (..., C * kernel, out...)."""
    axes, before = len(kernel), x.shape[:axis]
    x = x.reshape(-1, *x.shape[axis:])
    x = F.pad(x, [p for each in reversed(pad) for p in (each, each)])
    for at, (k, s, d) in enumerate(zip(kernel, stride, dilation, strict=True), 2):
        x = x.unfold(at, d * (k - 1) + 1, s)[..., ::d]
    x = x.permute(0, 1, *range(2 + axes, 2 + 2 * axes), *range(2, 2 + axes)).flatten(1, 1 + axes)
    return x.reshape(*before, *x.shape[1:])


def unpool(
    x: Tensor,
    places: Tensor,
    scale: tuple[int, int] = (2, 2),
    less: tuple[int, int] = (0, 0),
    size: tuple[int, int] | None = None,
) -> Tensor:
    """Put each value where max pooling found it, in a plane scale times as large, or of the size; zeros elsewhere."""
    n, c, h, w = x.shape
    height, width = size or (h * scale[0] - less[0], w * scale[1] - less[1])
    plane = x.new_zeros(n, c, height * width)
    plane = plane.scatter(2, places.reshape(n, c, -1).long(), x.reshape(n, c, -1))
    return plane.view(n, c, height, width)


def resize_by_corners(x: Tensor, shrink: int = 1, zoom: int = 1) -> Tensor:
    """Bilinear resizing to ((in - 1) / shrink) * zoom + 1 pixels each way; corners stay corners."""
    size = [(length - 1) // shrink * zoom + 1 for length in x.shape[2:]]
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


def resize_nearest(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resizing that takes value floor(i * in / out), in double precision as OpenCV does."""
    for axis, wanted in zip((2, 3), size, strict=True):
        step = 1.0 / (wanted / x.shape[axis])
        index = [min(math.floor(i * step), x.shape[axis] - 1) for i in range(wanted)]
        x = x.index_select(axis, torch.tensor(index, device=x.device))
    return x


def blocks_to_pixels(x: Tensor, side: int) -> Tensor:
    """(N, side * side * C, H, W), the place in the block outermost, to (N, C, side * H, side * W)."""
    n, c, h, w = x.shape
    x = x.reshape(n, side, side, c // side**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(n, c // side**2, h * side, w * side)


def pixels_to_blocks(x: Tensor, side: int) -> Tensor:
    """(N, C, H, W) to (N, side * side * C, H / side, W / side), the place in the block outermost."""
    n, c, h, w = x.shape
    x = x.reshape(n, c, h // side, side, w // side, side).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(n, c * side**2, h // side, w // side)


def darknet_reorg(x: Tensor, side: int) -> Tensor:
    """YOLO's reorg, which reads the memory as (N, C / side^2, side * H, side * W) first."""
    n, c, h, w = x.shape
    blocks = pixels_to_blocks(x.reshape(n, c // side**2, h * side, w * side), side)
    return blocks.reshape(n, c * side**2, h // side, w // side)
