"""Scale and offset of TI's dynamic fixed point from the range of a blob (caffe-jacinto 0.17), in float32 as there."""

from __future__ import annotations

import numpy as np

from caffecompat.schema import pb

__all__ = ["estimate_scale", "is_usable"]

_Float = np.float32


def estimate_scale(
    form: pb.QuantizationParameter.QParams, low: np.float32, high: np.float32, bits: int, *, power2: bool, offset: bool
) -> None:
    """Set all of a blob's fixed-point form that follows from its range.

    Args:
        form: its scale_applied, 1 where none is set, is the scale that the blob's numbers are thought to have already.
        low, high: the range.
        power2: the scale is a power of two over scale_applied. As in the original it wraps beyond 31 bits.
        offset: the range starts at `low`; else at 0 where it has no negative numbers, and is symmetric where it has.
    """
    applied = _Float(form.scale_applied)
    unsigned = bool(low >= 0)
    with np.errstate(all="ignore"):
        largest = max(abs(high), abs(low)) * applied
        span = abs(high - low) * applied
        shift = 0
        if power2:
            needed = _bits(span) if offset else _bits(largest) + (not unsigned)
            shift = needed - bits
            relative = _power_of_two(-shift)
        elif offset:
            relative = _Float(2**bits - 1) / span
        else:
            relative = _Float(2**bits - 1 if unsigned else 2 ** (bits - 1) - 1) / largest
        scale = relative * applied
        start = -low * scale if offset else _Float(0)
    form.bitwidth, form.fracbits, form.shiftbits = bits, 0, shift
    form.unsigned_data, form.unsigned_quant = unsigned, unsigned or offset
    form.scale_target, form.offset = float(scale), float(start)
    form.min, form.max = float(low), float(high)


def is_usable(form: pb.QuantizationParameter.QParams) -> bool:
    """Whether numbers can be put on the grid; not where the range is a single number, which the scale divides by."""
    return bool(np.isfinite(form.scale_target) and form.scale_target and np.isfinite(form.offset))


def _bits(value: np.float32) -> int:
    return int(np.ceil(np.log2(value))) if value != 0 and np.isfinite(value) else 0


def _power_of_two(exponent: int) -> np.float32:
    """2 to that power, by a shift of a 32 bit int, which takes the last five bits of the distance."""
    shifted = 1 << (abs(exponent) & 31)
    value = float(shifted - 2**32 if shifted == 2**31 else shifted)
    power: np.float32 = _Float(value if exponent >= 0 else 1 / value)
    return power
