"""The mean picture of a database."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from caffecompat.data.parallel import chunks, ordered_map
from caffecompat.formats.database import DatabaseError, DatabaseReader
from caffecompat.formats.datum import DatumError, decode_datum

__all__ = ["mean_image"]


def mean_image(
    database: DatabaseReader,
    *,
    threads: int = 0,
    on_progress: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """Mean of all records, pixel by pixel: (C, H, W) float32.

    Caffe adds in float32, which is exact up to 65000 pictures and loses digits beyond; here the sum is exact.

    Raises:
        DatabaseError: the database is empty, a record cannot be decoded, or one differs in shape from the first.
    """
    cursor = database.cursor()
    first = cursor.read(1)
    if not first:
        raise DatabaseError(f"{database.path} holds no records")
    cursor.rewind()
    expected = _values(database.path, *first[0]).shape

    def add_up(records: Sequence[tuple[bytes, bytes]]) -> tuple[int, np.ndarray]:
        total = np.zeros(expected, np.float64)
        for key, record in records:
            values = _values(database.path, key, record)
            if values.shape != expected:
                raise DatabaseError(
                    f"{database.path}: record {key.decode(errors='replace')} is {_size(values.shape)}, the first is "
                    f"{_size(expected)} (channels x height x width); a mean needs one size"
                )
            total += values
        return len(records), total

    total, done = np.zeros(expected, np.float64), 0
    for count, part in ordered_map(add_up, chunks(cursor), threads):
        total += part
        done += count
        on_progress(done)
    return total.astype(np.float32) / np.float32(done)


def _values(path: str, key: bytes, record: bytes) -> np.ndarray:
    """(C, H, W) values of a record, decoded with the file's own channels."""
    try:
        datum = decode_datum(record)
        return datum.image().transpose(2, 0, 1) if datum.encoded else datum.array()
    except DatumError as error:
        raise DatabaseError(f"{path}: record {key.decode(errors='replace')}: {error}") from None


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
