"""Phases as callers give them."""

from __future__ import annotations

import operator
from typing import SupportsIndex

from caffecompat.errors import CaffeCompatError
from caffecompat.schema import pb
from caffecompat.wording import did_you_mean

__all__ = ["as_phase"]

_NAMES = ("TRAIN", "TEST")


def as_phase(given: str | SupportsIndex) -> int:
    """``pb.TRAIN`` (0) or ``pb.TEST`` (1), given as a number or by name in any case.

    >>> as_phase("Train"), as_phase(1)
    (0, 1)

    Raises:
        CaffeCompatError: it is neither.
    """
    if isinstance(given, str):
        if given.strip().upper() in _NAMES:
            return int(getattr(pb, given.strip().upper()))
        raise CaffeCompatError(f"phase {given!r}: expected TRAIN or TEST{did_you_mean(given.upper(), _NAMES)}")
    try:
        number = -1 if isinstance(given, bool) else operator.index(given)
    except TypeError:
        number = -1
    if number not in (pb.TRAIN, pb.TEST):
        raise CaffeCompatError(f"phase {given!r}: expected TRAIN (0) or TEST (1)")
    return number
