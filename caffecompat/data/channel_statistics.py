"""Mean and standard deviation of each channel of a data set's pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from caffecompat.data.parallel import chunks, ordered_map
from caffecompat.errors import CaffeCompatError
from caffecompat.formats.annotated_datum import decode_annotated_datum, is_annotated_datum
from caffecompat.formats.database import DatabaseError, DatabaseReader, key_text
from caffecompat.formats.datum import DatumError, decode_datum
from caffecompat.formats.picture import PictureError, read_picture

__all__ = ["ChannelStatistics", "statistics_of_database", "statistics_of_files"]


class _Sums:
    """Sums of the values and of their squares, one a channel, over some pictures."""

    def __init__(self) -> None:
        self.pictures = self.pixels = 0
        self.values = self.squares = np.zeros(0)

    @classmethod
    def of(cls, picture: np.ndarray) -> _Sums:
        """Those of one picture (H, W, C)."""
        sums = cls()
        channels = [np.ascontiguousarray(picture[:, :, at]).reshape(-1) for at in range(picture.shape[2])]
        sums.pictures, sums.pixels = 1, picture.shape[0] * picture.shape[1]
        sums.values = np.array([channel.sum(dtype=np.float64) for channel in channels])
        sums.squares = np.array([_square_sum(channel) for channel in channels])
        return sums

    def add(self, other: _Sums) -> None:
        """Take others in, which must have the same channels."""
        if not self.pictures:
            self.values, self.squares = np.zeros_like(other.values), np.zeros_like(other.squares)
        if len(self.values) != len(other.values):
            raise CaffeCompatError(
                f"pictures of {len(self.values)} and of {len(other.values)} channels are mixed: there is no mean"
            )
        self.pictures += other.pictures
        self.pixels += other.pixels
        self.values = self.values + other.values
        self.squares = self.squares + other.squares


@dataclass(frozen=True)
class ChannelStatistics:
    """Of all pixels of all pictures, one value a channel in the pictures' own order (B, G, R).

    Attributes:
        pictures: that were measured.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    pictures: int


def statistics_of_files(
    files: Sequence[tuple[str, str]],
    *,
    color: bool = True,
    threads: int = 0,
    on_progress: Callable[[int], None] = lambda done: None,
) -> ChannelStatistics:
    """Measure picture files; one after the other is in memory.

    Args:
        files: (path, its place for messages, as "train.txt:12: ").
        color: three channels, or one.
        threads: that decode; 0 is one a core.
        on_progress: called with how many pictures are done.

    Raises:
        CaffeCompatError: one cannot be read.
    """

    def measure(file: tuple[str, str]) -> _Sums:
        path, where = file
        try:
            picture = read_picture(path, color)
        except PictureError as problem:
            raise CaffeCompatError(f"{where}{problem}") from None
        if picture is None:
            raise CaffeCompatError(f"{where}cannot read the picture {path}")
        return _Sums.of(picture)

    return _statistics(ordered_map(measure, files, threads), on_progress)


def statistics_of_database(
    database: DatabaseReader,
    *,
    color: bool | None = None,
    threads: int = 0,
    on_progress: Callable[[int], None] = lambda done: None,
) -> ChannelStatistics:
    """Measure the pictures of a database, of Datums or AnnotatedDatums.

    Args:
        color: for encoded pictures: True forces three channels, False one, None keeps what the file has.
        threads, on_progress: as of `statistics_of_files`.

    Raises:
        DatabaseError: a record cannot be decoded, pictures differ in their channels, or there is none.
    """

    def measure(records: Sequence[tuple[bytes, bytes]]) -> _Sums:
        sums = _Sums()
        for key, value in records:
            sums.add(_Sums.of(_picture(database.path, key, value, color)))
        return sums

    try:
        return _statistics(ordered_map(measure, chunks(database.cursor()), threads), on_progress)
    except CaffeCompatError as problem:
        where = "" if str(problem).startswith(database.path) else f"{database.path}: "
        raise DatabaseError(f"{where}{problem}") from None


def _picture(path: str, key: bytes, value: bytes, color: bool | None) -> np.ndarray:
    try:
        datum = decode_annotated_datum(value).datum if is_annotated_datum(value) else decode_datum(value)
        return datum.image(color)
    except DatumError as problem:
        raise DatabaseError(f"{os.fspath(path)}: record {key_text(key)}: {problem}") from None


def _statistics(parts: Iterator[_Sums], on_progress: Callable[[int], None]) -> ChannelStatistics:
    whole = _Sums()
    for part in parts:
        whole.add(part)
        on_progress(whole.pictures)
    if not whole.pixels:
        raise CaffeCompatError("there are no pictures to measure")
    mean = whole.values / whole.pixels
    std = np.sqrt(np.maximum(whole.squares / whole.pixels - mean**2, 0))
    return ChannelStatistics(tuple(mean.tolist()), tuple(std.tolist()), whole.pictures)


def _square_sum(values: np.ndarray) -> float:
    """The sum of the squares; of bytes by counting how often each value occurs."""
    if values.dtype == np.uint8:
        return float(np.bincount(values, minlength=256) @ np.arange(256, dtype=np.int64) ** 2)
    wide = values.astype(np.float64)
    return float(wide @ wide)
