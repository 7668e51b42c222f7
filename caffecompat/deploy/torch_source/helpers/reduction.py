"""ArgMax in exported files."""

from torch import Tensor

from caffecompat.layers.functional.class_scores import top_k

__all__ = ["arg_max", "largest"]


def arg_max(x: Tensor, axis: int) -> Tensor:
    """Index, as a float, of the greatest value along an axis, which stays; of equal ones the last."""
    return top_k(x, 1, axis)[1].to(x.dtype)


def largest(x: Tensor, count: int, axis: int) -> tuple[Tensor, Tensor]:
    """Indices, as floats, and values of the greatest along an axis, greatest first; of equal ones the last first."""
    values, index = top_k(x, count, axis)
    return index.to(x.dtype), values
