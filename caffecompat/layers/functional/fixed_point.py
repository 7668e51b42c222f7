"""Numbers on a power-of-two grid, as Xilinx' DPU holds them.

A position p means steps of 2^-p (p may be negative); b signed bits hold -2^(b-1) to 2^(b-1) - 1 steps.
"""

import math

import torch
from torch import Tensor

from caffecompat.layers.functional.rounding import round_away, round_up

__all__ = ["step_of", "to_grid"]


def to_grid(values: Tensor, position: int, bits: int, *, upwards: bool = False) -> Tensor:
    """The nearest numbers that `bits` signed bits hold at `position`; `upwards` rounds halves toward +infinity."""
    if position >= 32767:  # of a tensor of zeros: its step is 0
        return torch.zeros_like(values)
    step = step_of(position)
    whole = (round_up if upwards else round_away)(values / step)
    return whole.clamp_(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).mul_(step)


def step_of(position: int) -> float:
    """2^-position, infinite where that is beyond all numbers."""
    return math.ldexp(1.0, -position) if position > -1024 else math.inf
