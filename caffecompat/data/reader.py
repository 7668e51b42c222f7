"""How the records of a layer become rows of a batch: what a `Loader` runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from caffecompat.data.buffers import Buffers
from caffecompat.data.pixels import Pixels
from caffecompat.data.share import Share
from caffecompat.data.source import AugmentError, DataError, Shape
from caffecompat.formats.picture import PictureError
from caffecompat.resumable import State

__all__ = ["Column", "Columns", "Reader", "read_sample"]

Column = np.ndarray | Pixels
"""One top of a batch being made: (N, ...) float32, or pictures that become that once all are there."""
Columns = Sequence[Column]


class Reader(ABC):
    """How one layer's records become rows of a batch, one row each unless `rows` says more.

    Rows are in memory order: a picture is (H, W, C), a label is (). `take`, `state`, `restore` and `close` are called
    by one thread at a time, the others by several at once.

    Attributes:
        batch_size: rows of a batch.
        records: how many there are before it begins again; None where that is not known.
        as_bytes: whether pictures are to stay bytes (`Pixels`) where they are that, for a device to normalize.
    """

    batch_size: int
    records: int | None = None
    as_bytes: bool = False

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

    def columns(self, shapes: Sequence[Shape], rows: int, buffers: Buffers) -> list[Column]:
        """Room for a batch of rows of these shapes, one column each; memory is from `buffers`."""
        return [buffers.take((rows, *shape)) for shape in shapes]

    @abstractmethod
    def write(self, sample: Any, columns: Columns, at: int) -> None:
        """Write the sample into the batch: into row `at` of each column, and the next ones if it fills several."""

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
