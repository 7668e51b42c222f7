"""Reading ahead: threads that fill the next batches while the net works on this one.

A `Reader` knows the data of one layer; a `Loader` runs it. Threads take turns in planning (drawing
the next records and their random numbers, in order, under a lock) and then decode side by side, so
the batches are the same whatever the threads' timing.
OpenCV and NumPy let go of the interpreter lock in the long calls.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import Any

import numpy as np

from caffecompat.data.batch import Batch
from caffecompat.data.buffers import Buffers
from caffecompat.data.pixels import Pixels
from caffecompat.data.reader import Reader, read_sample
from caffecompat.data.share import ALL, Share
from caffecompat.data.source import DataError, batch_size_remarks
from caffecompat.resumable import State
from caffecompat.threads import start_loader_thread

__all__ = ["Loader"]

_LOOK = 1.0  # seconds after which a waiting consumer looks whether the threads are still there


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
        self._pending: deque[Batch] = deque()
        self._buffers = Buffers(5 * (self._depth + 2))  # of up to four tops, and bytes of one
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
        batch = self._next_own()
        batch.normalize(self._buffers)
        return batch.tops() + self._reader.variable_size_tops(batch.pieces)

    def next_pixels(self) -> tuple[np.ndarray | Pixels, ...]:
        """As `next`, with pictures as bytes; called before any batch is read."""
        self._reader.as_bytes = True
        batch = self._next_own()
        return batch.tops() + self._reader.variable_size_tops(batch.pieces)

    def _next_own(self) -> Batch:
        batch = self._next_batch()
        if batch.left_out:
            raise DataError("this batch is another process's")
        return batch

    def skip(self) -> None:
        """Go past the next batch."""
        self._next_batch()

    def _next_batch(self) -> Batch:
        with self._changed:
            if not self._workers and not self._stopped:
                self._start()
            while not (self._stopped or (self._pending and self._pending[0].ready)):
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
                    batch.ready = True
                    batch.allocated.set()
                self._changed.notify_all()
            if last:
                self._reader.close()

    def _next_job(self) -> tuple[Batch, int, int, list[Any] | BaseException] | None:
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

    def _plan(self) -> tuple[Batch, int, int, list[Any] | BaseException] | None:
        """The next chunk; None where another thread has taken the last room."""
        with self._changed:
            if self._stopped or not self._room():
                return None
            if not self._pending or self._planned == self._pending[-1].size:
                size = self._reader.batch_size
                left_out = not self._batches.owns(self._begun)
                rows = 0 if left_out else size
                batch = Batch(size, size, pieces=[None] * rows, records=[(None, 0)] * rows, left_out=left_out)
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

    def _fill(self, batch: Batch, start: int, count: int, records: list[Any] | BaseException) -> None:
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

    def _place(self, batch: Batch, at: int, record: Any) -> None:
        sample, shapes = read_sample(self._reader, record)
        for row in range(self._reader.rows(record)):
            batch.records[at + row] = (record, row)
        if at == 0:
            batch.first = self._reader.describe(record)
            batch.shapes = shapes
            batch.columns = self._reader.columns(shapes, batch.size, self._buffers)
            batch.allocated.set()
        elif not batch.allocated.is_set():
            batch.allocated.wait()
        if batch.error is not None and not batch.columns:
            return  # the first record failed: nothing to write into
        if shapes != batch.shapes:
            raise DataError(batch.mismatch(self._reader.describe(record), shapes))
        self._reader.write(sample, batch.columns, at)
        batch.pieces[at] = self._reader.variable_size_rows(sample)

    def _finish(self, batch: Batch, at: int, count: int, error: BaseException | None) -> None:
        with self._changed:
            if error is not None:
                batch.fail(at, error)
                batch.allocated.set()  # whoever waits for the first record
            batch.unfinished -= count
            if not batch.unfinished:
                batch.ready = True
                self._changed.notify_all()
