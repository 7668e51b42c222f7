"""Numbers on a power-of-two grid, as Xilinx' DPU holds them: positions and rounding.

A position p means steps of 2^-p (p may be negative); b signed bits hold -2^(b-1) ... 2^(b-1) - 1 steps. Rules of
Xilinx Caffe (vai_q_caffe), whose arithmetic is float32.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from caffecompat.layers.functional.fixed_point import to_grid
from caffecompat.schema import pb

__all__ = ["ALL_ZERO", "find_position"]

ALL_ZERO = 32767  # the position of a tensor of zeros: its step is 0
_NAN = -32768
_PART = 1 << 16  # values that are compared at a time


def find_position(values: Tensor, bits: int, method: int) -> int:
    """The position that a FixedMethod chooses for a tensor.

    OVER_FLOW: the finest at which nothing overflows by more than half a step. The others try that and the next
    4 (DIFF_S, DIFF_A) or 9 (DIFF_S_SIGMOID, which compares after a sigmoid) and take the least sum of squared
    differences, the coarsest on ties.
    """
    first = _overflow_position(values, bits)
    sigmoid = method == pb.FixedParameter.DIFF_S_SIGMOID
    if method == pb.FixedParameter.OVER_FLOW or first == _NAN:
        return first
    if first == ALL_ZERO:
        return 0 if sigmoid else ALL_ZERO
    best, least = first, math.inf
    flat = _flat(values.detach())
    for position in range(first, first + (10 if sigmoid else 5)):
        error = _error(flat, position, bits, sigmoid, least)
        if error < least:
            best, least = position, error
    return best


def _flat(values: Tensor) -> Tensor:
    """All values in the order of memory, without a copy where there is such an order."""
    if values.dim() == 4 and values.is_contiguous(memory_format=torch.channels_last):
        return values.permute(0, 2, 3, 1).reshape(-1)
    return values.reshape(-1)


def _error(flat: Tensor, position: int, bits: int, sigmoid: bool, enough: float) -> float:
    """The sum of squared differences from the grid, or something not below `enough` if it is not below that.

    Parts that stay in the processor's cache are summed one by one, so that a grid which saturates is given up early.
    Which way halves are rounded makes no difference to the squares, but it does after a sigmoid.
    """
    total, step, half = 0.0, math.ldexp(1.0, -position), 2 ** (bits - 1)
    for part in flat.split(_PART if flat.device.type == "cpu" else max(1, flat.numel())):
        if sigmoid:
            apart = part.sigmoid().sub_(to_grid(part, position, bits).sigmoid_())
        else:
            apart = part.div(step).round_().clamp_(-half, half - 1).mul_(step).sub_(part)
        total += float(apart.square_().sum())
        if total >= enough:
            break
    return total


def _overflow_position(values: Tensor, bits: int) -> int:
    least, greatest = (np.float32(bound.item()) for bound in values.detach().aminmax())
    half = 2.0 ** (bits - 1)
    scale = max(least / np.float32(-half - 0.5), greatest / np.float32(half - 0.5))
    if np.isnan(scale):
        return _NAN
    return math.floor(np.log2(np.float32(1) / scale)) if scale > 0 else ALL_ZERO
