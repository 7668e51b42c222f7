"""Pooling within regions of interest: the maximum (Fast R-CNN) and the position-sensitive mean (R-FCN).

Regions are rows [batch item, xmin, ymin, xmax, ymax] in pixels of the picture; both corners belong to the region.
Nothing here loops over regions, cells or pixels.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from caffecompat.layers.functional.rounding import round_away

__all__ = ["roi_max_pool", "roi_position_sensitive_pool"]


def _steps(size: Tensor, cells: int) -> Tensor:
    """Where cells of a size (R) begin and end: (R, cells + 1), multiples of it in the precision of the regions."""
    return torch.arange(cells + 1, device=size.device, dtype=size.dtype) * size[:, None]


def _within(first: Tensor, end: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """First and end (exclusive) rows or columns of each cell, inside 0 to `limit`."""
    return first.clamp(0, limit).long(), end.clamp(0, limit).long()


def _precise(regions: Tensor) -> Tensor:
    """In single precision at least: 16 bits do not hold the pixels of a picture."""
    return regions.to(torch.promote_types(regions.dtype, torch.float32))


def roi_max_pool(features: Tensor, regions: Tensor, cells: tuple[int, int], scale: float) -> Tensor:
    """The maximum of each channel in each cell of each region.

    Args:
        features: (N, C, H, W).
        regions: (R, 5).
        cells: rows and columns of cells in a region.
        scale: pixels of the features for one of the picture.

    Returns:
        (R, C, *cells); 0 where a cell lies outside the features. The gradient goes to the first maximum of a cell.
    """
    count, (rows, columns) = len(regions), cells
    items, channels, height, width = features.shape
    if features.is_meta:
        return features.new_empty((count, channels, rows, columns))
    corners = round_away(_precise(regions)[:, 1:] * scale)
    sizes = (corners[:, 2:] - corners[:, :2] + 1).clamp(min=1)
    (first_x, end_x), (first_y, end_y) = (
        _within(steps[:, :-1].floor() + corners[:, axis, None], steps[:, 1:].ceil() + corners[:, axis, None], limit)
        for axis, number, limit in ((0, columns, width), (1, rows, height))
        for steps in [_steps(sizes[:, axis] / number, number)]
    )
    shape = (count, rows, columns)
    item = regions[:, 0].long()[:, None, None].expand(shape).reshape(-1)
    top, bottom = (edge[:, :, None].expand(shape).reshape(-1) for edge in (first_y, end_y))
    left, right = (edge[:, None, :].expand(shape).reshape(-1) for edge in (first_x, end_x))
    pixels = features.permute(0, 2, 3, 1)
    filled = ((bottom > top) & (right > left)).nonzero()[:, 0]
    place = _first_maximum(pixels.detach(), item[filled], top[filled], bottom[filled], left[filled], right[filled])
    place += item[filled, None] * (height * width)
    found = pixels.reshape(items * height * width, channels).gather(0, place)
    made = found.new_zeros((count * rows * columns, channels)).index_copy(0, filled, found)
    return made.reshape(count, rows, columns, channels).permute(0, 3, 1, 2)


def _first_maximum(pixels: Tensor, item: Tensor, top: Tensor, bottom: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """The place (y * W + x) of the first maximum of each channel in each window, int64, (B, C).

    A window is the union of four whose sides are powers of 2, and the maxima of all windows with such sides are found
    by doubling: sides along x in the outer loop, sides along y in the inner one, so that few such maps exist at once.

    Args:
        pixels: (N, H, W, C).
        item: (B), the batch item of each window, which has at least one pixel.
        top, bottom, left, right: (B), the end exclusive.
    """
    height, width = pixels.shape[1:3]
    made = torch.zeros((len(item), pixels.shape[3]), dtype=torch.int64, device=pixels.device)
    level_y, level_x = _level(bottom - top), _level(right - left)
    index = torch.arange(height * width, dtype=torch.int32, device=pixels.device).reshape(1, height, width, 1)
    numbers = pixels.masked_fill(pixels.isnan(), -math.inf)  # what is no number is never greater
    wide = (numbers, index.expand(pixels.shape))
    for x in range(_most(level_x) + 1):
        wide = _doubled(wide, 2, 2 ** (x - 1)) if x else wide
        high, mine = wide, level_x == x
        for y in range(_most(level_y[mine]) + 1):
            high = _doubled(high, 1, 2 ** (y - 1)) if y else high
            windows = (mine & (level_y == y)).nonzero()[:, 0]
            if len(windows):
                corners = [
                    (item[windows], first_y, first_x)
                    for first_y in (top[windows], bottom[windows] - 2**y)
                    for first_x in (left[windows], right[windows] - 2**x)
                ]
                best = (high[0][corners[0]], high[1][corners[0]])
                for corner in corners[1:]:
                    best = _greater(best, (high[0][corner], high[1][corner]))
                made[windows] = best[1].long()
    return made


def _greater(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The greater values, and the places where they are first."""
    takes = (b[0] > a[0]) | ((b[0] == a[0]) & (b[1] < a[1]))
    return torch.where(takes, b[0], a[0]), torch.where(takes, b[1], a[1])


def _doubled(best: tuple[Tensor, Tensor], axis: int, side: int) -> tuple[Tensor, Tensor]:
    """Of all windows twice as long along an axis; empty where none fits."""
    length = max(best[0].shape[axis] - side, 0)
    first, second = (
        (best[0].narrow(axis, start, length), best[1].narrow(axis, start, length))
        for start in (0, best[0].shape[axis] - length)
    )
    return _greater(first, second)


def _level(size: Tensor) -> Tensor:
    """The exponent of the greatest power of 2 that is not above whole numbers from 1 on."""
    return torch.frexp(size.double())[1] - 1


def _most(level: Tensor) -> int:
    return int(level.max()) if level.numel() else -1


def roi_position_sensitive_pool(features: Tensor, regions: Tensor, channels: int, side: int, scale: float) -> Tensor:
    """The mean in each of side x side cells of each region, each cell taken from channels of its own.

    Args:
        features: (N, channels * side * side, H, W); channel c of cell (y, x) is (c * side + y) * side + x.
        regions: (R, 5), whose corners are rounded to whole pixels of the picture.
        scale: pixels of the features for one of the picture.

    Returns:
        (R, channels, side, side); 0 where a cell lies outside the features.
    """
    count = len(regions)
    items, _, height, width = features.shape
    if features.is_meta:
        return features.new_empty((count, channels, side, side))
    corners = round_away(_precise(regions)[:, 1:])
    start, end = corners[:, :2] * scale, (corners[:, 2:] + 1) * scale
    sizes = (end - start).clamp(min=0.1) / side
    (left, right), (top, bottom) = (
        _within(places[:, :-1].floor(), places[:, 1:].ceil(), limit)
        for axis, limit in ((0, width), (1, height))
        for places in [_steps(sizes[:, axis], side) + start[:, axis, None]]
    )
    # Sums over all pixels above and to the left of a corner: in double, because the sum of a cell is a difference.
    planes = features.double().reshape(items, channels, side * side, height, width).permute(0, 2, 3, 4, 1)
    sums = F.pad(planes.cumsum(2).cumsum(3), (0, 0, 1, 0, 1, 0))
    shape = (count, side, side)
    item = regions[:, 0].long()[:, None, None].expand(shape)
    cell = torch.arange(side * side, device=features.device).reshape(1, side, side).expand(shape)
    top, bottom = top[:, :, None].expand(shape), bottom[:, :, None].expand(shape)
    left, right = left[:, None, :].expand(shape), right[:, None, :].expand(shape)
    total = (
        sums[item, cell, bottom, right]
        - sums[item, cell, top, right]
        - sums[item, cell, bottom, left]
        + sums[item, cell, top, left]
    )
    area = (bottom - top).clamp(min=0) * (right - left).clamp(min=0)
    mean = total / area.clamp(min=1)[..., None] * (area > 0)[..., None]
    return mean.permute(0, 3, 1, 2).to(features.dtype)
