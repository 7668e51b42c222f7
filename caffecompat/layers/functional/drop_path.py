"""Stochastic depth: a residual branch that is left out for some of the items."""

from __future__ import annotations

from torch import Tensor

__all__ = ["drop_path"]


def drop_path(x: Tensor, probability: float, training: bool) -> Tensor:
    """In training each item (axis 0) becomes 0 with a probability, and is divided by 1 - it else."""
    if not training or probability == 0:
        return x
    stays = x.new_empty((x.shape[0], *[1] * (x.dim() - 1))).bernoulli_(1 - probability)
    return x * (stays / (1 - probability))
