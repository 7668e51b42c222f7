"""Places of the greatest values, as ArgMax gives them: as floats, of equal values the last first."""

import torch
from torch import Tensor

from caffecompat.layers.functional.class_scores import top_k

__all__ = ["arg_max", "arg_max_of_items"]


def arg_max(x: Tensor, axis: int, count: int = 1) -> Tensor:
    """Indices of the `count` greatest values along an axis, which becomes as long; greatest first."""
    return top_k(x, count, axis)[1].to(x.dtype)


def arg_max_of_items(x: Tensor, count: int = 1, with_values: bool = False) -> Tensor:
    """Indices of the `count` greatest values among all of each item of (N, ...), greatest first.

    Returns:
        (N, 1, count), or (N, 2, count) of indices and values; with a 1 for each axis of x from the fourth on.
    """
    values, indices = top_k(x.reshape(x.shape[0], -1), count, 1)
    numbers = indices.to(x.dtype)
    pairs = torch.stack([numbers, values] if with_values else [numbers], dim=1)
    return pairs.reshape(pairs.shape + (1,) * (x.dim() - 3))
