"""The best of scores by Caffe's rule for equal ones."""

from torch import Tensor

__all__ = ["top_k"]


def top_k(scores: Tensor, count: int, axis: int) -> tuple[Tensor, Tensor]:
    """The `count` largest values along `axis`, greatest first, and their int64 indices.

    Of equal values the last comes first: Caffe sorts pairs of value and index.
    """
    reverse = scores.flip(axis)
    if count == 1:
        values, indices = reverse.max(axis, keepdim=True)
    else:
        values, indices = reverse.sort(dim=axis, descending=True, stable=True)
        values, indices = values.narrow(axis, 0, count), indices.narrow(axis, 0, count)
    return values, scores.shape[axis] - 1 - indices
