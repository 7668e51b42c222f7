from __future__ import annotations

import gc
import itertools
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffecompat.data import DataError, loader
from caffecompat.data.loaded_source import LoadedSource
from caffecompat.data.loader import Loader
from caffecompat.data.reader import Columns, Reader
from caffecompat.data.source import Shape
from caffecompat.resumable import State


class Numbers(Reader):
    """Records 0, 1, 2, ... as rows of four; some are slow, some are bad."""

    def __init__(self, size: int = 4, slow: set[int] = frozenset(), bad: set[int] = frozenset()) -> None:  # type: ignore[assignment]
        self.batch_size = size
        self.taken = 0
        self.closed = 0
        self._slow, self._bad = slow, bad

    def take(self, count: int) -> list[int]:
        self.taken += count
        return list(range(self.taken - count, self.taken))

    def state(self) -> State:
        return {"taken": self.taken}

    def restore(self, state: State) -> list[str]:
        self.taken = state["taken"]
        return []

    def read(self, record: int) -> int:
        if record in self._slow:
            time.sleep(0.02)
        if record in self._bad:
            raise DataError(f"record {record} is bad")
        return record

    def shapes(self, sample: int) -> list[Shape]:
        return [(4,), ()]

    def write(self, sample: int, columns: Columns, at: int) -> None:
        first, second = columns
        assert isinstance(first, np.ndarray) and isinstance(second, np.ndarray)
        first[at], second[at] = sample, -sample

    def describe(self, record: int) -> str:
        return f"record {record}"

    def close(self) -> None:
        self.closed += 1


def _loader_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "caffecompat loader"}


@pytest.fixture(autouse=True)
def no_threads_left() -> Iterator[None]:
    before = _loader_threads()  # of nets that earlier tests of this process still hold
    yield
    gc.collect()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and _loader_threads() - before:
        time.sleep(0.01)
    assert not _loader_threads() - before


@pytest.mark.parametrize("threads", [1, 3, 8])
def test_batches_come_in_order(threads: int) -> None:
    source = LoadedSource(Numbers(5, slow={0, 6, 13}), 0, depth=3, threads=threads)
    assert source.top_shapes == [(5, 4), (5,)]
    for k in range(20):
        data, label = source.next()
        np.testing.assert_array_equal(label, -np.arange(5 * k, 5 * k + 5))
        np.testing.assert_array_equal(data, np.repeat(np.arange(5 * k, 5 * k + 5), 4).reshape(5, 4))
    source.close()


def test_arrays_stay_the_callers() -> None:
    with LoadedSource(Numbers(), 0, depth=2, threads=2) as source:
        kept = [source.next()[0] for _ in range(12)]
        assert [int(batch[0, 0]) for batch in kept] == list(range(0, 48, 4))


@pytest.mark.parametrize("threads", [1, 3, 8])
def test_the_state_is_that_of_the_batch_that_was_handed_out(threads: int) -> None:
    """Whatever was read ahead; and going back to it works while threads read and wait."""
    with LoadedSource(Numbers(5, slow={0, 6, 13}), 0, depth=3, threads=threads) as source:
        states = [source.state()]
        for _ in range(6):
            source.next()
            states.append(source.state())
        assert [state["taken"] for state in states] == list(range(0, 35, 5))
        for k in (2, 5, 0, 0, 4):
            assert source.restore(states[k]) == [] and source.state() == states[k]
            for row in (5 * k, 5 * k + 5):
                np.testing.assert_array_equal(source.next()[1], -np.arange(row, row + 5))


def test_going_back_ends_an_error() -> None:
    reader = Numbers(4, bad={5})
    with LoadedSource(reader, 0, depth=2, threads=2) as source:
        source.next()
        with pytest.raises(DataError):
            source.next()
        assert source.state() == {"batch_size": 4, "taken": 4}  # the batch that failed is the next one
        source.restore({"batch_size": 4, "taken": 8})
        assert source.next()[1][0] == -8
    with pytest.raises(DataError, match="closed"):
        source.restore({"batch_size": 4, "taken": 8})


def test_going_back_again_and_again_leaves_no_thread_waiting() -> None:
    source = LoadedSource(Numbers(6), 0, depth=2, threads=4)
    for k in range(300):
        source.restore({"batch_size": 6, "taken": 6 * k})
        assert source.next()[1][0] == -6 * k
    source.close()


def test_reads_no_further_ahead_than_asked() -> None:
    reader = Numbers(4)
    with LoadedSource(reader, 0, depth=3, threads=2) as source:
        time.sleep(0.05)
        assert reader.taken == 0  # nothing before the first batch is wanted
        source.next()
        deadline = time.monotonic() + 2
        while reader.taken < 16 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        assert reader.taken == 16


@pytest.mark.parametrize("threads", [1, 4])
def test_the_earliest_error_comes_in_its_place_and_again(threads: int) -> None:
    with LoadedSource(Numbers(8, slow={16, 17}, bad={17, 22, 23}), 0, depth=4, threads=threads) as source:
        source.next()
        source.next()
        for _ in range(3):
            with pytest.raises(DataError, match="record 17 is bad"):
                source.next()


def test_error_of_the_first_record_of_a_batch() -> None:
    with LoadedSource(Numbers(8, slow={8}, bad={8}), 0, depth=2, threads=4) as source:
        source.next()
        with pytest.raises(DataError, match="record 8 is bad"):
            source.next()


def test_error_in_planning_reaches_the_caller() -> None:
    class Torn(Numbers):
        def take(self, count: int) -> list[int]:
            if self.taken >= 8:
                raise DataError("the database is damaged")
            return super().take(count)

    with LoadedSource(Torn(8), 0, depth=2, threads=2) as source:
        source.next()
        with pytest.raises(DataError, match="damaged"):
            source.next()


def test_a_record_of_another_shape_is_named() -> None:
    class Uneven(Numbers):
        def shapes(self, sample: int) -> list[Shape]:
            return [(3 if sample == 6 else 2, 4, 1), ()]

    with LoadedSource(Uneven(4), 0, depth=2, threads=2) as source:
        source.next()
        with pytest.raises(DataError, match=r"record 6 is 3x4x1, but the first of the batch, record 4, is 2x4x1"):
            source.next()


def test_close_stops_threads_and_reader() -> None:
    reader = Numbers()
    source = LoadedSource(reader, 0, depth=2, threads=3)
    source.next()
    source.close()
    source.close()
    assert reader.closed == 1
    with pytest.raises(DataError, match="closed"):
        source.next()


def test_close_before_the_first_batch() -> None:
    reader = Numbers()
    LoadedSource(reader, 0, depth=2, threads=3).close()
    assert reader.closed == 1


def test_dropping_the_source_stops_the_threads() -> None:
    reader = Numbers()
    source: Any = LoadedSource(reader, 0, depth=2, threads=3)
    source.next()
    del source
    gc.collect()
    assert reader.closed == 1


def test_a_thread_that_waits_for_the_memory_of_a_closed_batch_ends() -> None:
    closed = threading.Event()

    class Late(list[int]):
        """Records that a thread comes to only after the source was closed."""

        def __iter__(self) -> Iterator[int]:
            closed.wait(10)
            return super().__iter__()

    class FirstIsLate(Numbers):
        def take(self, count: int) -> list[int]:
            records = super().take(count)
            return Late(records) if 0 in records else records

    reader = FirstIsLate(2)
    source = LoadedSource(reader, 0, depth=1, threads=2)

    def consume() -> None:
        with pytest.raises(DataError, match="closed"):
            source.next()

    consumer = threading.Thread(target=consume)
    consumer.start()
    time.sleep(0.1)  # the other thread has its record and waits for the first one's thread to allocate the batch
    threading.Timer(0.1, closed.set).start()
    source.close()
    consumer.join(5)
    assert not any(worker.is_alive() for worker in source._loader._workers)
    assert reader.closed == 1


def test_closing_at_any_moment_leaves_no_thread_and_no_open_reader() -> None:
    """Also where the thread that is to allocate the batch stops before it does, and others wait for that."""
    rng = random.Random(0)
    for _ in range(1000):
        reader = Numbers(rng.choice([1, 3, 8]))
        source = LoadedSource(reader, 0, depth=rng.choice([1, 3]), threads=rng.choice([1, 2, 4]))
        for _ in range(rng.randrange(3)):
            source.next()
        if rng.random() < 0.5:
            time.sleep(rng.random() * 2e-3)
        source.close()
        assert not any(worker.is_alive() for worker in source._loader._workers)
        assert reader.closed == 1


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("method", ["_plan", "_finish", "_fill"])
@pytest.mark.parametrize("error", [MemoryError(), SystemExit(1), RuntimeError("of the loader")])
def test_a_dead_thread_is_an_error_and_no_hang(
    monkeypatch: pytest.MonkeyPatch, threads: int, method: str, error: BaseException
) -> None:
    whole = getattr(Loader, method)
    calls = itertools.count()

    def dying(self: Loader, *given: Any) -> Any:
        if next(calls) == 7:
            raise error
        return whole(self, *given)

    monkeypatch.setattr(Loader, method, dying)
    reader = Numbers(4)
    source = LoadedSource(reader, 0, depth=2, threads=threads)
    with pytest.raises(DataError, match=f"a thread that reads data has ended: {re.escape(repr(error))}"):
        for _ in range(50):
            source.next()
    with pytest.raises(DataError, match="a thread that reads data has ended"):
        source.next()
    source.close()
    assert not any(worker.is_alive() for worker in source._loader._workers)
    assert reader.closed == 1


@pytest.mark.parametrize("allowed", [0, 2])
def test_a_limit_of_threads(monkeypatch: pytest.MonkeyPatch, allowed: int) -> None:
    start, started = loader.start_loader_thread, itertools.count()

    def limited(work: Callable[[], None]) -> threading.Thread:
        if next(started) >= allowed:
            raise RuntimeError("can't start new thread")
        return start(work)

    monkeypatch.setattr(loader, "start_loader_thread", limited)
    reader = Numbers(5)
    source = LoadedSource(reader, 0, depth=2, threads=4)
    if allowed:
        assert [int(row) for _ in range(3) for row in source.next()[0][:, 0]] == list(range(15))
    else:
        with pytest.raises(DataError, match="no thread to read data can be started"):
            source.next()
    source.close()
    assert reader.closed == 1


def test_a_forked_process_has_no_threads() -> None:
    source = LoadedSource(Numbers(), 0, depth=1, threads=1)
    source.next()
    time.sleep(0.05)  # the thread waits, and holds no lock
    child = os.fork()
    if not child:
        try:
            while True:
                source.next()
        except DataError as problem:
            os._exit(7 if "forked from" in str(problem) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    source.close()


_SCRIPT = """
import sys, time
sys.path.insert(0, {tests!r})
from test_loader import Numbers
from caffecompat.data.loaded_source import LoadedSource
{body}
"""


def run(body: str) -> subprocess.Popen[str]:
    script = _SCRIPT.format(tests=str(Path(__file__).parent), body=body)
    return subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_leaving_python_with_a_running_source_is_quiet() -> None:
    process = run("source = LoadedSource(Numbers(4, slow=set(range(999))), 0, depth=4, threads=2); source.next()")
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 0


def test_ctrl_c_while_waiting_for_a_batch() -> None:
    process = run(
        "class Stuck(Numbers):\n"
        "    def read(self, record):\n"
        "        time.sleep(0.5 if record else 0)\n"
        "        return record\n"
        "source = LoadedSource(Stuck(40), 0, depth=1, threads=1)\n"
        "print('waiting', flush=True)\n"
        "try:\n"
        "    source.next()\n"
        "except KeyboardInterrupt:\n"
        "    source.close()\n"
        "    print('interrupted')\n"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGINT)
    assert process.communicate(timeout=30) == ("interrupted\n", "")
