"""Several processes that train one net read together what one process reads, each its own part of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from caffecompat import data
from caffecompat.data.share import Share, share_records
from tests.data.test_resuming import TEST, TEXTS, folder, opened

__all__ = ["folder"]

FILLED = ("MemoryData", "DummyData", "Input")  # they have no records
CASES = [
    pytest.param(text, id=f"{kind}-{k}")
    for kind, texts in TEXTS.items()
    if kind not in FILLED
    for k, text in enumerate(texts)
]
ROUNDS = 4  # past the end of the data, where the order is another one


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    yield
    share_records(Share())
    data.seed(None)


def batches(text: str, folder: Path, share: Share, count: int, state: object = None) -> tuple[list[np.ndarray], object]:
    """The first top of each batch, and the state after them."""
    data.seed(5)
    share_records(share)
    with opened(text, folder) as source:
        if state is not None:
            assert source.restore(state) == []  # type: ignore[arg-type]
        return [source.next()[0].copy() for _ in range(count)], source.state()


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("text", CASES)
def test_training_records_are_dealt_out(text: str, size: int, folder: Path) -> None:
    whole, after = batches(text, folder, Share(), ROUNDS * size)
    rows = np.concatenate(whole)
    for rank in range(size):
        own, state = batches(text, folder, Share(rank, size), ROUNDS)
        assert np.array_equal(np.concatenate(own), rows[rank::size])
        assert repr(state) == repr(after)  # so that any number of processes goes on from there


@pytest.mark.parametrize("text", [text for text in CASES if "Window" not in str(text.id)])
def test_another_number_of_processes_goes_on_from_the_same_place(text: str, folder: Path) -> None:
    whole, _ = batches(text, folder, Share(), 10)
    _, state = batches(text, folder, Share(1, 2), 2)
    for rank in range(3):
        own, _ = batches(text, folder, Share(rank, 3), 2, state)
        assert np.array_equal(np.concatenate(own), np.concatenate(whole[4:])[rank::3])


@pytest.mark.parametrize("text", CASES)
def test_batches_of_a_test_are_dealt_out(text: str, folder: Path) -> None:
    data.seed(5)
    with opened(text, folder, TEST) as source:
        whole = [source.next()[0].copy() for _ in range(8)]
        after = source.state()
    data.seed(5)
    share_records(Share(1, 3))  # is of TRAIN layers alone
    with opened(text, folder, TEST) as source:
        source.share_batches(Share(1, 3))
        for number in range(8):
            if number % 3 == 1:
                assert np.array_equal(source.next()[0], whole[number])
            else:
                source.skip()
        assert repr(source.state()) == repr(after)


def test_a_batch_of_another_process_cannot_be_read(folder: Path) -> None:
    with opened(TEXTS["Data"][0], folder, TEST) as source:
        source.share_batches(Share(1, 2))
        with pytest.raises(data.DataError, match="another process"):
            source.next()
