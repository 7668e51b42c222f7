"""Reading ahead: threads that fill the next batches while the net works on this one.

A `Reader` knows the data of one layer; a `Loader` runs it. Threads take turns in planning (drawing
the next records and their random numbers, in order, under a lock) and then decode side by side, so
the batches are the same whatever the threads' timing. OpenCV and NumPy let go of the interpreter
lock in the long calls.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from caffecompat.data.share import ALL, Share
from caffecompat.data.source import AugmentError, DataError, Shape, Source, batch_size_remarks
from caffecompat.formats.picture import PictureError
from caffecompat.resumable import State
from caffecompat.threads import MOST_THREADS, loader_threads, start_loader_thread

__all__ = ["LoadedSource", "Loader", "Reader", "read_sample"]

Arrays = Sequence[np.ndarray]

_LOOK = 1.0  # seconds after which a waiting consumer looks whether the threads are still there


class Reader(ABC):
    """How one layer's records become rows of a batch, one row each unless `rows` says more.

    Rows are in memory order: a picture is (H, W, C), a label is (). `take`, `state`, `restore` and `close` are called
    by one thread at a time, the others by several at once.

    Attributes:
        batch_size: rows of a batch.
        records: how many there are before it begins again; None where that is not known.
    """

    batch_size: int
    records: int | None = None

    @abstractmethod
    def take(self, count: int) -> list[Any]:
        """Records for the next `count` rows, with all that is random about them; at the end it begins again."""

    def take_of(self, share: Share, count: int) -> list[Any]:
        """The share's records for its next `count` rows, of all those that the processes take together."""
        return share.of(self.take(share.size * count))

    @abstractmethod
    def state(self) -> State:
        """Where `take` goes on, between two batches: place, order, random numbers (see `Source.state`)."""

    @abstractmethod
    def restore(self, state: State) -> list[str]:
        """Let `take` go on from such a state; what differs from then."""

    def rows(self, record: Any) -> int:
        """How many rows of the batch the record fills."""
        return 1

    def row(self, record: Any, row: int) -> Any:
        """The record of one of its rows alone."""
        return record

    @abstractmethod
    def read(self, record: Any) -> Any:
        """Decode one record.

        Raises:
            DataError: it cannot be read; the message names it.
        """

    @abstractmethod
    def shapes(self, sample: Any) -> list[Shape]:
        """The shape of each row of that sample.

        Raises:
            DataError: the sample does not suit the layer.
        """

    @abstractmethod
    def write(self, sample: Any, arrays: Arrays, at: int) -> None:
        """Write the sample into the batch: into row `at` of each array, and the next ones if it fills several."""

    @abstractmethod
    def describe(self, record: Any) -> str:
        """Which file or record it is, for messages."""

    def variable_size_rows(self, sample: Any) -> Any:
        """What the sample adds to tops whose size depends on all samples of a batch (boxes)."""
        return None

    def variable_size_tops(self, pieces: list[Any]) -> tuple[np.ndarray, ...]:
        """These tops, after the others, from the pieces of all samples in order."""
        return ()

    def close(self) -> None:  # noqa: B027 (lists of files hold nothing open)
        """Let go of files."""


@dataclass(eq=False)
class _Batch:
    """One batch in the making."""

    size: int
    unfinished: int
    shapes: list[Shape] = field(default_factory=list)
    arrays: list[np.ndarray] = field(default_factory=list)
    pieces: list[Any] = field(default_factory=list)
    allocated: threading.Event = field(default_factory=threading.Event)
    first: str = ""
    records: list[tuple[Any, int]] = field(default_factory=list)  # of each row, and which of its rows that is
    state: State = field(default_factory=dict)  # the reader's after this batch
    error: BaseException | None = None
    error_at: int = 0
    left_out: bool = False  # another process reads it

    def fail(self, at: int, error: BaseException) -> None:
        """Of several errors the one of the earliest record counts."""
        if self.error is None or at < self.error_at:
            self.error, self.error_at = error, at

    def tops(self) -> tuple[np.ndarray, ...]:
        return tuple(array.transpose(0, 3, 1, 2) if array.ndim == 4 else array for array in self.arrays)


class _Buffers:
    """Memory of batches that nobody refers to any more, used again.

    A fresh array of several megabytes costs the kernel's zeroing of its pages, about a tenth of the time to
    decode what it holds. An array that is free has no reference but the pool's: every view of it, also a
    tensor's, keeps one.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._arrays: list[np.ndarray] = []
        self._free = self._references([np.empty(0)])[0]

    @staticmethod
    def _references(arrays: list[np.ndarray]) -> list[int]:
        return [sys.getrefcount(array) for array in arrays]

    def take(self, shape: Shape) -> np.ndarray:
        """A float32 array of any content."""
        with self._lock:
            free = [count == self._free for count in self._references(self._arrays)]
            for k, idle in enumerate(free):
                if idle and self._arrays[k].shape == shape:
                    view: np.ndarray = self._arrays[k].view()
                    return view
            if len(self._arrays) >= self._most and True in free:
                del self._arrays[free.index(True)]
            array = np.empty(shape, np.float32)
            if len(self._arrays) < self._most:
                self._arrays.append(array)
            view = array.view()
            return view


class Loader:
    """Runs a reader on threads, at most `depth` finished or half-finished batches ahead.

    Args:
        share: the records to read.
    """

    def __init__(self, reader: Reader, depth: int, threads: int, share: Share = ALL) -> None:
        self._reader = reader
        self._share, self._batches = share, ALL
        self._begun = self._returned = 0  # batches, those that are left out included
        self._depth = max(1, depth)
        self._threads = max(1, threads)
        self._chunk = -(-reader.batch_size // self._threads)
        self._planning = threading.Lock()
        self._planned = 0  # records of the newest batch that are taken
        self._changed = threading.Condition()
        self._pending: deque[_Batch] = deque()
        self._buffers = _Buffers(4 * (self._depth + 2))  # of up to four tops
        self._newest: list[tuple[Any, int]] = []  # records of the batch that was handed out last
        self._state = reader.state()  # after that batch
        self._workers: list[threading.Thread] = []
        self._running = 0
        self._failure: BaseException | None = None  # of a thread, where nobody else could have it
        self._process = os.getpid()
        self._stopped = False

    def share_batches(self, share: Share) -> None:
        """Leave out the batches that the share does not own, before any is read; `skip` goes past each."""
        self._batches = share

    def next(self) -> tuple[np.ndarray, ...]:
        """Wait for the next batch; one array a top."""
        batch = self._next_batch()
        if batch.left_out:
            raise DataError("this batch is another process's")
        return batch.tops() + self._reader.variable_size_tops(batch.pieces)

    def skip(self) -> None:
        """Go past the next batch."""
        self._next_batch()

    def _next_batch(self) -> _Batch:
        with self._changed:
            if not self._workers and not self._stopped:
                self._start()
            while not (self._stopped or (self._pending and not self._pending[0].unfinished)):
                self._check_workers()
                self._changed.wait(_LOOK)
            if self._stopped:
                raise DataError("this source is closed")
            batch = self._pending[0]
            if batch.error is not None:
                raise batch.error
            self._pending.popleft()
            self._returned += 1
            self._newest, self._state = batch.records, batch.state
            self._changed.notify_all()
        return batch

    def describe(self, row: int) -> str:
        """Which file or record filled a row of the batch that `next` returned last; "" where there is no such row."""
        return self._reader.describe(self._reader.row(*self._newest[row])) if row < len(self._newest) else ""

    def state(self) -> State:
        """Where the batch begins that `next` will return; what was read ahead of it does not count."""
        return {"batch_size": self._reader.batch_size, **self._state}

    def restore(self, state: State) -> list[str]:
        """Go on from such a state; what differs from then."""
        with self._planning:
            with self._changed:
                if self._stopped:
                    raise DataError("this source is closed")
                self._pending.clear()
                self._begun = self._returned
            remarks = batch_size_remarks(state, self._reader.batch_size) + self._reader.restore(state)
            self._state = self._reader.state()
            with self._changed:
                self._changed.notify_all()
        return remarks

    def close(self) -> None:
        """Stop the threads; safe to call from anywhere, more than once."""
        with self._changed:
            idle = not self._workers and not self._stopped
            self._stopped = True
            self._pending.clear()
            self._changed.notify_all()
        if idle:
            self._reader.close()
        for worker in self._workers:
            if worker is not threading.current_thread():
                worker.join(5)

    def _start(self) -> None:
        """Start the threads, or as many as the system allows."""
        for _ in range(self._threads):
            try:
                self._workers.append(start_loader_thread(self._work))
            except RuntimeError as problem:
                if not self._workers:
                    raise DataError(
                        f"no thread to read data can be started ({problem}): the limit of processes ('ulimit -u', or "
                        "the container's) is reached, or there is no memory left"
                    ) from None
                break
        self._running = len(self._workers)  # none of them gets this far yet: the caller holds the lock

    def _check_workers(self) -> None:
        """Make sure that a batch can still come.

        Raises:
            DataError: a thread has ended by an error, or this is a forked process, which has no threads.
        """
        if self._failure is None and any(worker.is_alive() for worker in self._workers):
            return
        if self._process != os.getpid():
            raise DataError("the threads that read data are in the process this one was forked from; make the net here")
        raise self._dead()

    def _dead(self) -> DataError:
        return DataError(f"a thread that reads data has ended: {self._failure!r}")

    def _work(self) -> None:
        try:
            while (job := self._next_job()) is not None:
                self._fill(*job)
        except BaseException as error:  # what its batch lacks will not come
            self._failure = error
        finally:
            with self._changed:
                self._running -= 1
                last = not self._running
                for batch in self._pending if self._failure is not None else ():
                    batch.fail(0, self._dead())
                    batch.allocated.set()
                self._changed.notify_all()
            if last:
                self._reader.close()

    def _next_job(self) -> tuple[_Batch, int, int, list[Any] | BaseException] | None:
        """Plan the next chunk: its batch, first row and number of rows, and the records or why there are none."""
        job = None
        while job is None:
            with self._changed:  # nobody waits for room with the right to plan in hand, which `restore` needs
                while not self._stopped and not self._room():
                    self._changed.wait()
                if self._stopped:
                    return None
            with self._planning:
                job = self._plan()
        return job

    def _plan(self) -> tuple[_Batch, int, int, list[Any] | BaseException] | None:
        """The next chunk; None where another thread has taken the last room."""
        with self._changed:
            if self._stopped or not self._room():
                return None
            if not self._pending or self._planned == self._pending[-1].size:
                size = self._reader.batch_size
                left_out = not self._batches.owns(self._begun)
                rows = 0 if left_out else size
                batch = _Batch(size, size, pieces=[None] * rows, records=[(None, 0)] * rows, left_out=left_out)
                self._pending.append(batch)
                self._begun += 1
                self._planned = 0
            batch, start = self._pending[-1], self._planned
            count = batch.size if batch.left_out else min(self._chunk, batch.size - start)
            self._planned += count
        try:
            records = self._reader.take_of(self._share, count) if self._share.size > 1 else self._reader.take(count)
            if start + count == batch.size:
                batch.state = self._reader.state()
            return batch, start, count, [] if batch.left_out else records
        except BaseException as error:
            return batch, start, count, error

    def _room(self) -> bool:
        if self._pending and self._planned < self._pending[-1].size:
            return True
        read = sum(not batch.left_out for batch in self._pending)
        return read < self._depth and all(batch.error is None for batch in self._pending)

    def _fill(self, batch: _Batch, start: int, count: int, records: list[Any] | BaseException) -> None:
        at = start
        error: BaseException | None = None
        try:
            if isinstance(records, BaseException):
                raise records
            for record in records:
                if self._stopped:  # as an error, which wakes those who wait for this batch's memory
                    raise DataError("this source is closed")
                self._place(batch, at, record)
                at += self._reader.rows(record)
        except BaseException as caught:  # handed to the consumer
            error = caught
        self._finish(batch, at, count, error)

    def _place(self, batch: _Batch, at: int, record: Any) -> None:
        sample, shapes = read_sample(self._reader, record)
        for row in range(self._reader.rows(record)):
            batch.records[at + row] = (record, row)
        if at == 0:
            batch.first = self._reader.describe(record)
            batch.shapes = shapes
            batch.arrays = [self._buffers.take((batch.size, *shape)) for shape in shapes]
            batch.allocated.set()
        elif not batch.allocated.is_set():
            batch.allocated.wait()
        if batch.error is not None and not batch.arrays:
            return  # the first record failed: nothing to write into
        if shapes != batch.shapes:
            raise DataError(_mismatch(self._reader.describe(record), shapes, batch))
        self._reader.write(sample, batch.arrays, at)
        batch.pieces[at] = self._reader.variable_size_rows(sample)

    def _finish(self, batch: _Batch, at: int, count: int, error: BaseException | None) -> None:
        with self._changed:
            if error is not None:
                batch.fail(at, error)
                batch.allocated.set()  # whoever waits for the first record
            batch.unfinished -= count
            if not batch.unfinished:
                self._changed.notify_all()


def read_sample(reader: Reader, record: Any) -> tuple[Any, list[Shape]]:
    """The record's sample and the shapes of its rows; an error says which record it is."""
    try:
        sample = reader.read(record)
    except (PictureError, AugmentError) as problem:
        raise DataError(f"{reader.describe(record)}: {problem}") from None
    try:
        return sample, reader.shapes(sample)
    except DataError as error:
        raise DataError(f"{reader.describe(record)}: {error}") from None


def _mismatch(record: str, shapes: list[Shape], batch: _Batch) -> str:
    place = next(k for k, (one, other) in enumerate(zip(shapes, batch.shapes, strict=True)) if one != other)
    one, other = ("x".join(map(str, shape)) for shape in (shapes[place], batch.shapes[place]))
    return (
        f"{record} is {one}, but the first of the batch, {batch.first}, is {other} (height x width x channels): "
        f"the records of a batch must have one size (new_height and new_width, a crop, or batch_size: 1)"
    )


class LoadedSource(Source):
    """A source whose batches a `Loader` reads ahead.

    Attributes:
        reader: of its records; whoever calls it leaves `next` alone.
    """

    def __init__(self, reader: Reader, first: Any, *, depth: int, threads: int = 0, share: Share = ALL) -> None:
        """`first` is a record to take the shapes from; reading begins with `next`."""
        if threads > MOST_THREADS:
            raise DataError(f"threads must be at most {MOST_THREADS}, it is {threads}")
        sample, shapes = read_sample(reader, first)
        size = reader.batch_size
        self.reader, self.records = reader, reader.records
        self.top_shapes = [(size, s[2], s[0], s[1]) if len(s) == 3 else (size, *s) for s in shapes]
        self.top_shapes += [top.shape for top in reader.variable_size_tops([reader.variable_size_rows(sample)])]
        self._loader = Loader(reader, depth, threads or loader_threads(), share)
        # The threads hold the loader, not this object: dropping the last reference to it stops them.
        self._closer = weakref.finalize(self, self._loader.close)

    def share_batches(self, share: Share) -> None:
        self._loader.share_batches(share)

    def next(self) -> tuple[np.ndarray, ...]:
        return self._loader.next()

    def skip(self) -> None:
        self._loader.skip()

    def describe(self, row: int) -> str:
        return self._loader.describe(row)

    def state(self) -> State:
        return self._loader.state()

    def restore(self, state: State) -> list[str]:
        return self._loader.restore(state)

    def close(self) -> None:
        self._closer()
