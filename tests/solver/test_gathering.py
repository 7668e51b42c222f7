"""Processes find each other, also where a store still holds what earlier ones wrote."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch.distributed as dist

from caffecompat.solver.gathering import name_of_group


def names(store: dist.Store, size: int, order: list[int]) -> set[str]:
    """The names that processes find which come in this order."""
    with ThreadPoolExecutor(size) as pool:
        return {each.result() for each in [pool.submit(name_of_group, store, rank, size, 20) for rank in order]}


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0]])
def test_all_find_one_name_and_another_one_each_time(order: list[int]) -> None:
    store, found = dist.HashStore(), set()
    for _ in range(3):
        once = names(store, 3, order)
        assert len(once) == 1
        found |= once
    assert len(found) == 3


def test_one_that_was_started_again_meets_the_others() -> None:
    """The others are still there, waiting for the one that is gone."""
    store = dist.HashStore()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(name_of_group, store, 0, 2, 20)
        with pytest.raises(TimeoutError):
            name_of_group(store, 1, 2, 0.0)  # shows its token, and dies
        name = name_of_group(store, 1, 2, 20)
        assert waiting.result() == name
