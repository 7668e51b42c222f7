"""Progress of work on a database's records."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from caffecompat import glog
from caffecompat.cli.common.progress import live_line

__all__ = ["record_progress"]


@contextmanager
def record_progress(total: int, when: str) -> Iterator[Callable[[int], None]]:
    """The live line; a log line with rate and time left every ten seconds next to it."""
    begun = last = time.monotonic()
    start: int | None = None
    with live_line(total, "records", when) as update:

        def step(done: int) -> None:
            nonlocal last, start
            update(done, "")
            now = time.monotonic()
            start = done if start is None else start
            if now - last >= 10 and done > start:
                rate = (done - start) / (now - begun)
                left = (total - done) / rate
                glog.info(f"{done} of {total} records, {rate:.3g} a second, {left:.0f} s left", "lmdb.py:1")
                last = now

        yield step
