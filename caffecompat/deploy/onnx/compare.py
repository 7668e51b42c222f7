"""How far two outputs are apart, and whether that is too far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from caffecompat.compare.arrays import gaps, magnitude

__all__ = ["TOLERANCE", "Difference", "compare"]

TOLERANCE = 1e-4  # of the greatest value of an output


@dataclass
class Difference:
    """How far an output is from the net's.

    Attributes:
        output: its name.
        absolute: the greatest difference.
        relative: that over the greatest magnitude of the net's output.
        differ: how many values differ by more than the tolerance, of `size`.
        allowed: whether it is still the same output.
        remark: why it is, where the difference alone does not say so; or what is known about where it comes from.
    """

    output: str
    absolute: float
    relative: float
    differ: int
    size: int
    allowed: bool
    remark: str = ""

    def __str__(self) -> str:
        if self.absolute == np.inf and self.differ == self.size:
            text = f"{self.output}: another number of values, or NaN or infinity on one side"
        else:
            text = f"{self.output}: largest difference {self.absolute:.3g} ({self.relative:.3g} of the largest value)"
            text += f", {self.differ} of {self.size} values differ" if self.differ else ""
        return f"{text}; {self.remark}" if self.remark else text


def compare(name: str, found: np.ndarray, wanted: np.ndarray, *, exact: bool = False) -> Difference:
    """Compare by the rule: no value may be off by more than TOLERANCE of the largest one, or at all if `exact`."""
    if found.shape != wanted.shape:
        return Difference(name, np.inf, np.inf, wanted.size, wanted.size, False)
    apart, scale = gaps(found, wanted), magnitude(wanted)
    absolute = float(apart.max(initial=0))
    relative = absolute / scale if scale else absolute
    differ = int((apart > (0 if exact else (TOLERANCE * scale or 1e-6))).sum())
    return Difference(name, absolute, relative, differ, wanted.size, not differ)
