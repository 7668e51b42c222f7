"""Shuffling by NumPy is Python's, to the number and to the state of the generator."""

from __future__ import annotations

import random

import numpy as np
import pytest

from caffecompat.data.shuffle import shuffled


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 100, 127, 128, 129, 1000, 4096, 70000])
def test_the_order_and_the_generator_are_those_of_random_shuffle(count: int) -> None:
    for seed in range(3):
        theirs, ours = random.Random(seed), random.Random(seed)
        want, got = list(range(count)), np.arange(count, dtype=np.uint32)
        for _ in range(3):  # the second from the order of the first, the generator in the middle of its numbers
            theirs.shuffle(want)
            before = got.copy()
            shuffled_again = shuffled(got, ours)
            np.testing.assert_array_equal(got, before)
            got = shuffled_again
            assert got.tolist() == want and got.dtype == np.uint32
            assert ours.getstate() == theirs.getstate()
            assert ours.getrandbits(32) == theirs.getrandbits(32)
