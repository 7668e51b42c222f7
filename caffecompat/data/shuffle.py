"""Shuffling as Python's `random` does, with its random numbers, for orders of millions."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["shuffled"]

_BITS = 32  # of each number that the generator makes


def shuffled(order: np.ndarray, generator: random.Random) -> np.ndarray:
    """What `generator.shuffle` makes of a list with these numbers; the generator goes on from where that leaves it.

    `shuffle` draws and exchanges one by one, which takes a second for a million; here it is done by the thousand.

    Args:
        order: (N) integers, fewer than 2^32; stays as it is.

    >>> numbers = list(range(5))
    >>> random.Random(1).shuffle(numbers)
    >>> numbers == shuffled(np.arange(5), random.Random(1)).tolist()
    True
    """
    values: np.ndarray = order.copy()
    last = len(values) - 1
    for places in _places(len(values), generator):
        while len(places):
            count = _independent(places, last)
            here, there = np.arange(last, last - count, -1), places[:count]
            values[here], values[there] = values[there], values[here]
            places = places[count:]
            last -= count
    return values


def _independent(places: np.ndarray, last: int) -> int:
    """How many values, of `last` and those before it, can change with those at `places` at once: none moves twice."""
    places = places[: math.isqrt(last) + 1]  # about as many as are
    ahead = last - places  # whose turn it is to change with the value at such a place
    (meets,) = np.nonzero(ahead > np.arange(len(places)))
    order = places.argsort(kind="stable")
    (twice,) = np.nonzero(places[order[1:]] == places[order[:-1]])
    least: int = min([len(places), *ahead[meets].tolist(), *order[twice + 1].tolist()])
    return least


def _places(count: int, generator: random.Random) -> Iterator[np.ndarray]:
    """Random numbers below count, count - 1, ..., 2, part by part; afterwards the generator has made these.

    `random` cuts each number of 32 bits down to those of its limit and draws again where it is not below that.
    """
    version, (*key, position), gauss = generator.getstate()
    start: Any = {"bit_generator": "MT19937", "state": {"key": np.array(key, np.uint32), "pos": position}}
    source = np.random.MT19937(0)
    source.state = start
    waiting = np.empty(0, np.uint64)
    used = 0
    limit = count
    while limit > 1:
        bits = limit.bit_length()
        wanted = limit - max(2, 1 << (bits - 1)) + 1  # whose limits have as many bits
        if len(waiting) < wanted:
            waiting = np.concatenate([waiting, source.random_raw(wanted)])
        drawn = (waiting >> np.uint64(_BITS - bits)).astype(np.int64)
        below = _below(drawn, limit)
        (good,) = np.nonzero(below)
        good = good[:wanted]
        taken = int(good[-1]) + 1 if len(good) == wanted else len(drawn)
        waiting = waiting[taken:]
        used += taken
        limit -= len(good)
        yield drawn[good]
    source.state = start
    source.random_raw(used, output=False)
    after = source.state["state"]
    generator.setstate((version, (*after["key"].tolist(), int(after["pos"])), gauss))


def _below(drawn: np.ndarray, limit: int) -> np.ndarray:
    """Which numbers are below the limit, which is one less after each that is.

    Each pass takes the limits from the pass before: its first numbers are right then, more with every pass, and soon
    all of them.
    """
    below = drawn < limit
    while True:
        limits = limit - (np.cumsum(below) - below)
        again = drawn < limits
        if np.array_equal(again, below):
            return below
        below = again
