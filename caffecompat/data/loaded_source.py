"""A source whose batches are read ahead."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from caffecompat.data.loader import Loader
from caffecompat.data.pixels import Pixels
from caffecompat.data.reader import Reader, read_sample
from caffecompat.data.share import ALL, Share
from caffecompat.data.source import DataError, Source
from caffecompat.resumable import State
from caffecompat.threads import MOST_THREADS, loader_threads

__all__ = ["LoadedSource"]


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
        self._loader = Loader(reader, depth, loader_threads(threads), share)
        # The threads hold the loader, not this object: dropping the last reference to it stops them.
        self._closer = weakref.finalize(self, self._loader.close)

    def share_batches(self, share: Share) -> None:
        self._loader.share_batches(share)

    def next(self) -> tuple[np.ndarray, ...]:
        return self._loader.next()

    def next_pixels(self) -> tuple[np.ndarray | Pixels, ...]:
        return self._loader.next_pixels()

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
