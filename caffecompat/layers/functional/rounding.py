"""Rounding to whole numbers, halves by one rule or another."""

from torch import Tensor

__all__ = ["round_away", "round_up"]


def round_away(x: Tensor) -> Tensor:
    """To whole numbers, halves away from 0 as C's round does."""
    whole = x.trunc()
    return whole + x.sign() * ((x - whole).abs() >= 0.5)


def round_up(x: Tensor) -> Tensor:
    """To whole numbers, halves toward +infinity."""
    whole = x.floor()
    return (x - whole).ge_(0.5).add_(whole)
