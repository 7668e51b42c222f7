"""Numbers on a power-of-two grid, as Xilinx' DPU holds them: positions and rounding.

A position p means steps of 2^-p (p may be negative); b signed bits hold -2^(b-1) ... 2^(b-1) - 1 steps. Rules of
Xilinx Caffe (vai_q_caffe), whose arithmetic is float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from caffecompat.layers.functional.fixed_point import step_of, to_grid
from caffecompat.schema import pb

__all__ = ["ALL_ZERO", "NO_POSITION", "activations_to_grid", "find_position"]

ALL_ZERO = 32767  # the position of a tensor of zeros: its step is 0
NO_POSITION = -32768  # of a tensor with NaN or infinity
_FINEST_FACTOR = 127  # 2^128 is no float32
_FIRST_PART, _PART = 1 << 12, 1 << 15  # values that are compared at a time: torch splits up what is longer


def find_position(values: Tensor, bits: int, method: int) -> int:
    """The position that a FixedMethod chooses for a tensor.

    OVER_FLOW: the finest at which nothing overflows by more than half a step. The others try that and the next
    4 (DIFF_S, DIFF_A) or 9 (DIFF_S_SIGMOID, which compares after a sigmoid) and take the least sum of squared
    differences, the coarsest on ties.
    """
    flat = _flat(values.detach())
    first = _overflow_position(flat, bits)
    sigmoid = method == pb.FixedParameter.DIFF_S_SIGMOID
    if method == pb.FixedParameter.OVER_FLOW or first == NO_POSITION:
        return first
    if first == ALL_ZERO:
        return 0 if sigmoid else ALL_ZERO
    best, least = first, math.inf
    error = _sigmoid_error if sigmoid else _error
    parts = list(_parts(flat))
    for position in range(first, first + (10 if sigmoid else 5)):
        found = error(parts, position, bits, least)
        if found < least:
            best, least = position, found
    return best


def activations_to_grid(values: Tensor, position: int, bits: int, *, in_place: bool = False) -> Tensor:
    """What `to_grid` makes of values with halves upwards, in parts that stay in the processor's cache."""
    result = values if in_place else torch.empty_like(values)
    flat, into = _flat(values), _flat(result)
    in_order = flat.data_ptr() == values.data_ptr() and into.data_ptr() == result.data_ptr()
    if position >= ALL_ZERO or not in_order or values.stride() != result.stride():
        return result.copy_(to_grid(values, position, bits, upwards=True))
    step, half = step_of(position), 2 ** (bits - 1)
    for part, target in zip(_parts(flat), _parts(into), strict=True):
        _in_steps(part, position + 1, out=target)
        target.floor_().mul_(0.5).ceil_()  # of twice the value, so that nothing is rounded before
        target.clamp_(-half, half - 1).mul_(step)
    return result


def _flat(values: Tensor) -> Tensor:
    """All values in the order of memory, without a copy where they have such an order without gaps."""
    if values.dim() == 4 and values.is_contiguous(memory_format=torch.channels_last):
        return values.permute(0, 2, 3, 1).reshape(-1)
    return values.reshape(-1)


def _parts(flat: Tensor) -> Iterator[Tensor]:
    """Parts that stay in the processor's cache, the first one short, as most positions are given up there."""
    if flat.device.type != "cpu":
        yield flat
        return
    yield flat[:_FIRST_PART]
    yield from flat[_FIRST_PART:].split(_PART)


def _error(parts: list[Tensor], position: int, bits: int, enough: float) -> float:
    """The sum of squared differences from the grid, or something not below `enough` if it is not below that.

    Parts are summed one by one, so that a grid which saturates is given up early. Which way halves are rounded makes
    no difference to the squares.
    """
    total, step, half = 0.0, step_of(position), 2 ** (bits - 1)
    room = torch.empty_like(max(parts, key=len))
    for part in parts:
        apart = _in_steps(part, position, out=room[: len(part)])
        torch.sub(part, apart.round_().clamp_(-half, half - 1), alpha=step, out=apart)
        total += float(torch.dot(apart, apart))
        if total >= enough:
            break
    return total


def _in_steps(values: Tensor, position: int, out: Tensor) -> Tensor:
    """values / 2^-position, by the faster product where the factor is a float32."""
    if position <= _FINEST_FACTOR:
        return torch.mul(values, step_of(-position), out=out)
    return torch.div(values, step_of(position), out=out)


def _sigmoid_error(parts: list[Tensor], position: int, bits: int, enough: float) -> float:
    """The same of the differences after a sigmoid, where halves have to be rounded as weights are."""
    total = 0.0
    for part in parts:
        apart = part.sigmoid().sub_(to_grid(part, position, bits).sigmoid_())
        total += float(torch.dot(apart, apart))
        if total >= enough:
            break
    return total


def _overflow_position(values: Tensor, bits: int) -> int:
    least, greatest = (np.float32(bound.item()) for bound in values.aminmax())
    half = 2.0 ** (bits - 1)
    scale = max(least / np.float32(-half - 0.5), greatest / np.float32(half - 0.5))
    if not np.isfinite(scale):
        return NO_POSITION
    return math.floor(np.log2(np.float32(1) / scale)) if scale > 0 else ALL_ZERO
