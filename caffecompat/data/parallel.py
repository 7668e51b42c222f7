"""Work in several threads, results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from caffecompat.arguments import as_count
from caffecompat.formats.database import Cursor
from caffecompat.threads import cores

__all__ = ["chunks", "ordered_map"]

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def ordered_map(work: Callable[[_In], _Out], items: Iterable[_In], threads: int = 0) -> Generator[_Out, None, None]:
    """``map(work, items)`` in several threads (0: one a core), a few items ahead of the consumer.

    `items` is consumed by the calling thread. When the consumer stops (an exception, Ctrl-C), what is
    not begun is dropped.
    """
    count = as_count(threads, "threads", 0) or cores()
    waiting: deque[Future[_Out]] = deque()
    pool = ThreadPoolExecutor(count, thread_name_prefix="caffecompat")
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= 4 * count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def chunks(cursor: Cursor, size: int = 64) -> Iterator[list[tuple[bytes, bytes]]]:
    """The cursor's records in lists of `size`."""
    while records := cursor.read(size):
        yield records
