"""Numbers as TI's dynamic fixed point holds them: whole steps of any size, counted from an offset.

The rules are those of caffe-jacinto 0.17 on a CPU (``Trim2FixedPoint_cpu``), on every device.
"""

import torch
from torch import Tensor

from caffecompat.layers.functional.rounding import round_away

__all__ = ["to_steps"]


def to_steps(
    values: Tensor,
    scale: float,
    offset: float = 0.0,
    bits: int = 8,
    *,
    unsigned: bool = False,
    clip: bool = True,
    stochastic: bool = False,
) -> Tensor:
    """The numbers that `bits` bits hold near to `values`, float32.

    Args:
        scale: steps for 1.
        offset: what is added in steps, and subtracted again after rounding; it need not be whole.
        unsigned: steps from 0 to 2^bits - 1, not from -2^(bits - 1) to 2^(bits - 1) - 1.
        clip: whether values beyond these are cut; a bias is not.
        stochastic: round up by chance, the more often the nearer, by torch's generator; else halves away from 0.

    >>> to_steps(torch.tensor([0.1, -0.3, 9.0]), scale=4.0, bits=4)
    tensor([ 0.0000, -0.2500,  1.7500])
    """
    steps = values.float() * scale + offset
    if clip:
        low, high = (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        steps = steps.clamp(low, high)
    whole = (steps + torch.rand_like(steps)).floor() if stochastic else round_away(steps)
    inverse = (1 / torch.tensor(scale, dtype=torch.float32)).item()
    return (whole - offset) * inverse
