"""Windows of a map laid out side by side."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

__all__ = ["im2col"]


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
