"""In how many bits a layer type may compute, where a net asks for 16."""

from __future__ import annotations

from enum import Enum, auto

__all__ = ["Precision"]


class Precision(Enum):
    """What a layer makes of ``forward_type: FLOAT16`` or ``BFLOAT16``.

    SINGLE: computes in float32 all the same. ROUNDED: computes in float32, and rounds its first top to 16 bits where
    its first bottom has 16. HALF: computes as torch does under autocast, products in 16 bits and their sums in 32.
    """

    SINGLE = auto()
    ROUNDED = auto()
    HALF = auto()
