"""Correlation of two maps over displacements, as FlowNet2 and DispNet compare patches.

Patches are kernel x kernel pixels. The first one begins `margin` pixels inside the padded maps, the next ones `stride`
pixels further, and each is compared with the patches of the other map that lie displaced from it. All displacements
along a row are computed at once.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["correlate"]


def correlate(
    first: Tensor,
    second: Tensor,
    displacements: tuple[Sequence[int], Sequence[int]],
    kernel: int,
    stride: int,
    margin: tuple[int, int],
    pad: tuple[int, int] = (0, 0),
    subtract: bool = False,
) -> Tensor:
    """The mean product of patches, or the mean absolute difference (`subtract`), for each displacement.

    Args:
        first, second: (N, C, H, W); patches of `second` are displaced.
        displacements: rows and columns; every pair of them is one.
        margin, pad: along height and width; the pad is zeros.

    Returns:
        (N, rows * columns, H_out, W_out), the columns innermost, H_out = (H + 2 pad - 2 margin - kernel) // stride + 1.
    """
    rows, columns = displacements
    first, second = (F.pad(x, (pad[1], pad[1], pad[0], pad[0])) for x in (first, second))
    height, width = (
        (size - 2 * edge - kernel) // stride * stride + kernel
        for size, edge in zip(first.shape[2:], margin, strict=True)
    )
    step = stride if kernel == 1 else 1
    own = first[:, :, margin[0] : margin[0] + height : step, margin[1] : margin[1] + width : step]
    least, most = min(columns), max(columns)
    outside = max(0, -(margin[1] + least))
    second = F.pad(second, (outside, 0))
    left = outside + margin[1] + least
    # Where in a row of `second`, from `left` on, the pixel for each one of `own` and each displacement is: (W', D).
    shifts = torch.tensor(columns, device=first.device) - least
    places = torch.arange(own.shape[3], device=first.device)[:, None] * step + shifts
    own = own.permute(0, 2, 3, 1).contiguous()
    made = []
    for row in rows:
        top = margin[0] + row
        other = second[:, :, top : top + height : step, left : left + width + most - least].permute(0, 2, 1, 3)
        compare = _mean_differences if subtract else _mean_products
        made.append(compare(own, other, places).permute(0, 3, 1, 2))
    maps = torch.cat(made, 1)
    return maps if kernel == 1 else F.avg_pool2d(maps, kernel, stride)


def _mean_products(own: Tensor, other: Tensor, places: Tensor) -> Tensor:
    """Means over channels of `own` (N, H, W, C) times the pixels of `other` (N, H, C, W'') at the places (W, D).

    Returns:
        (N, H, W, D).
    """
    products = torch.matmul(own, other)
    return products.gather(3, places.expand(*products.shape[:2], *places.shape)) / own.shape[3]


def _mean_differences(own: Tensor, other: Tensor, places: Tensor) -> Tensor:
    """As `_mean_products`, of absolute differences."""
    displaced = other[:, :, :, places]
    return (own.permute(0, 1, 3, 2)[..., None] - displaced).abs().mean(2)
