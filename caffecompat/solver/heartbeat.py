"""Signs of life in a group's store, by which its processes notice that one of them has died or failed."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from typing import Any

__all__ = ["BEAT", "SILENT", "Heartbeat"]

BEAT = 1.0  # seconds between two signs
SILENT = 12.0  # seconds without a sign after which a process counts as dead
GRACE = 4.0  # seconds that a process has to end by itself once another one has failed
_FAILURE = "failure"


class Heartbeat:
    """A thread that gives signs of life, and watches those of the next process; the last one watches the first.

    What it finds out it tells the others through the store. A process that waits for a dead one inside a backend cannot
    be woken: where this process has not ended by itself soon after, the thread ends it with exit status 1.

    Args:
        store: of the group; the thread gets a connection of its own.

    Attributes:
        failure: why another process is known to have failed; "" as long as none is.
    """

    def __init__(self, store: Any, rank: int, size: int) -> None:
        self.failure = ""
        self._store, self._rank, self._next = store.clone(), rank, (rank + 1) % size
        self._size = size
        self._ended = threading.Event()
        self._found = threading.Event()
        self._connection = threading.Lock()
        self._seen = ("", time.monotonic())  # the newest sign of the next process, and since when it is that
        self._thread = threading.Thread(target=self._beat, name="caffecompat heartbeat", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, error: str = "") -> str:
        """End; with an error that the others are to end for. Returns the one that they end for: the earliest."""
        self._ended.set()
        earliest = self.failure or error
        if error and not self.failure:
            with contextlib.suppress(RuntimeError), self._connection:  # the store may be gone, and with it its readers
                earliest = self._store.compare_set(_FAILURE, "", error).decode(errors="replace")
        if earliest and self._rank == 0:
            time.sleep(2 * BEAT)  # the store goes with this process: let the others read it
        if threading.current_thread() is not self._thread:
            # An interpreter that ends while a thread is inside of the store aborts the process.
            self._thread.join(2 * BEAT)
        return earliest

    def wait_for_failure(self) -> str:
        """Why a connection may have broken: waits until the failure of a process is known, or all seem to be well."""
        deadline = time.monotonic() + 4 * BEAT
        while not self._found.wait(BEAT / 4) and time.monotonic() < deadline:
            pass
        if not self.failure and time.monotonic() - self._seen[1] > 2.5 * BEAT:
            return self._dead()
        return self.failure

    def _beat(self) -> None:
        count = 0
        while not self._ended.wait(BEAT):
            count += 1
            try:
                with self._connection:
                    failure = self._exchange(count)
            except RuntimeError:
                failure = "the process that all others connect to (the first, or torchrun) has ended"
            if failure:
                self._end(failure)
                return

    def _exchange(self, count: int) -> str:
        """Give a sign and look for the others'; why to end, if anything."""
        self._store.set(f"beat {self._rank}", str(count))
        if self._store.check([_FAILURE]):
            return str(self._store.get(_FAILURE).decode(errors="replace"))
        key = f"beat {self._next}"
        sign = self._store.get(key).decode() if self._store.check([key]) else ""
        if sign != self._seen[0]:
            self._seen = (sign, time.monotonic())
        elif time.monotonic() - self._seen[1] > SILENT:
            self._store.compare_set(_FAILURE, "", self._dead())
            return self._dead()
        return ""

    def _dead(self) -> str:
        return f"process {self._next} of {self._size} has died: it gives no sign of life any more"

    def _end(self, failure: str) -> None:
        if self._ended.is_set():
            return
        self.failure = failure
        self._found.set()
        if self._ended.wait(GRACE):
            return
        print(f"error: {failure}", file=sys.stderr, flush=True)
        os._exit(1)
