"""Planes in another size, each value a weighted sum of a window: FlowNet2's Resample, Downsample and centered crops.

A window is the product of one along the height and one along the width, so that each axis is done by itself. What
stands for an axis are places (made, taps) and weights (made, taps); places outside of the plane have no weight.
"""

import math

import torch
from torch import Tensor

from caffecompat.layers.functional.rounding import round_away

__all__ = [
    "crop_axis",
    "crop_center",
    "downsample",
    "resample",
    "resample_axis",
    "resample_nearest",
    "resample_nearest_axis",
    "thin_axis",
    "weigh_axis",
]


def _cubic(x: Tensor) -> Tensor:
    """The curve of cubic convolution with a = -1/2."""
    x = x.abs()
    near = x * x * (1.5 * x - 2.5) + 1
    far = x * (x * (-0.5 * x + 2.5) - 4) + 2
    return torch.where(x <= 1, near, torch.where(x < 2, far, 0.0))


def _centers(size: int, made: int, factor: float) -> Tensor:
    """Where in an axis of `size` the `made` values are taken; `factor` is the other axis', as FlowNet2 has it."""
    return torch.arange(made, dtype=torch.float32) * (size / made) + factor / 2 - 0.5


def resample_axis(size: int, made: int, factor: float, cubic: bool, antialias: bool) -> tuple[Tensor, Tensor]:
    """Places and weights along one axis of `resample`; the weights sum to 1, or are all 0."""
    centers, own = _centers(size, made, factor), size / made
    wide = own if antialias else 1.0
    radius = 2 if own < 1 else math.ceil((4 if cubic else 2) * wide)
    places = round_away(centers)[:, None] + torch.arange(-radius, radius + 1)
    distances = (centers[:, None] - places) / wide
    weights = _cubic(distances) if cubic else (1 - distances.abs()).clamp(min=0)
    weights = torch.where((places >= 0) & (places < size), weights, 0.0)
    total = weights.sum(1, keepdim=True)
    return places.clamp(0, size - 1).long(), torch.where(total != 0, weights / total, 0.0)


def thin_axis(size: int, made: int) -> tuple[Tensor, Tensor]:
    """Places and weights along one axis of `downsample`; both sizes are above 1."""
    scale = (size - 1) / (made - 1)
    radius = math.ceil(scale)
    centers = torch.arange(made, dtype=torch.float32) / (made - 1) * (size - 1)
    places = round_away(centers)[:, None] + torch.arange(-radius, radius + 1)
    weights = (1 - (places - centers[:, None]).abs() / scale).clamp(min=0)
    return places.clamp(0, size - 1).long(), torch.where((places >= 0) & (places < size), weights, 0.0)


def crop_axis(size: int, made: int) -> tuple[Tensor, Tensor]:
    """Places and weights along one axis of `crop_center`."""
    centers = (torch.arange(made, dtype=torch.float32) + (size - made) / 2).clamp(0, max(size - 1.05, 0))
    low = centers.floor()
    share = centers - low
    places = torch.stack([low, low + 1], 1).clamp(max=size - 1).long()
    return places, torch.stack([1 - share, share], 1)


def weigh_axis(x: Tensor, axis: int, places: Tensor, weights: Tensor) -> Tensor:
    """The weighted sums of x along an axis."""
    places, weights = places.to(x.device), weights.to(x.device, x.dtype)
    shape = [-1 if index == axis % x.dim() else 1 for index in range(x.dim())]
    made = x.index_select(axis, places[:, 0]) * weights[:, 0].view(shape)
    for tap in range(1, places.shape[1]):
        made = made + x.index_select(axis, places[:, tap]) * weights[:, tap].view(shape)
    return made


def resample(x: Tensor, size: tuple[int, int], cubic: bool = False, antialias: bool = True) -> Tensor:
    """(N, C, H, W) in another size by a triangle (linear) or cubic window, which widens where the size shrinks.

    Args:
        antialias: whether it does widen, on both axes as soon as one of them shrinks.
    """
    (height, width), factors = x.shape[2:], (x.shape[2] / size[0], x.shape[3] / size[1])
    wide = antialias and max(factors) > 1
    x = weigh_axis(x, 2, *resample_axis(height, size[0], factors[1], cubic, wide))
    return weigh_axis(x, 3, *resample_axis(width, size[1], factors[0], cubic, wide))


def resample_nearest_axis(size: int, made: int, factor: float) -> Tensor:
    """Places along one axis of `resample_nearest`."""
    return round_away(_centers(size, made, factor)).clamp(0, size - 1).long()


def resample_nearest(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, C, H, W) in another size, the nearest pixel for each."""
    (height, width), factors = x.shape[2:], (x.shape[2] / size[0], x.shape[3] / size[1])
    rows, columns = (
        resample_nearest_axis(before, made, factor).to(x.device)
        for before, made, factor in ((height, size[0], factors[1]), (width, size[1], factors[0]))
    )
    return x.index_select(2, rows).index_select(3, columns)


def downsample(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, C, H, W) in another size, corners on corners, the mean by a triangle window of what is not NaN.

    A value is NaN where NaN has more than half the weight of what is not, or nothing has weight.
    """
    if tuple(x.shape[2:]) == tuple(size):
        return x
    known = ~x.isnan()
    axes = [thin_axis(before, made) for before, made in zip(x.shape[2:], size, strict=True)]
    sums, weight, lost = (
        weigh_axis(weigh_axis(part, 2, *axes[0]), 3, *axes[1])
        for part in (torch.where(known, x, 0.0), known.to(x.dtype), (~known).to(x.dtype))
    )
    return torch.where(lost / weight > 0.5, torch.nan, sums / weight)


def crop_center(x: Tensor, size: tuple[int, int]) -> Tensor:
    """The middle of (N, C, H, W), between pixels where as many cannot be cut from both sides.

    No place is nearer than 1.05 to the end of the plane: its last row and column have a share of the ones before.
    """
    for axis in (2, 3):
        x = weigh_axis(x, axis, *crop_axis(x.shape[axis], size[axis - 2]))
    return x
