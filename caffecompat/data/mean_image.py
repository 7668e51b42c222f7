"""The mean picture of a database."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np

from caffecompat.data.parallel import chunks, ordered_map
from caffecompat.formats.database import DatabaseError, DatabaseReader, open_database
from caffecompat.formats.datum import DatumError, decode_datum
from caffecompat.formats.mean import write_mean

__all__ = ["compute_image_mean", "mean_image"]


def compute_image_mean(
    database: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    backend: str | None = None,
    threads: int = 0,
    on_progress: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """The mean picture of a database, as Caffe's compute_image_mean has it.

    Args:
        database: of Datums, all of one size.
        out: .binaryproto to write, which `mean_file` in transform_param takes.
        backend: "lmdb" or "leveldb"; None looks.
        threads: that decode; 0 is one a core.
        on_progress: called with how many records are done.

    Returns:
        The mean of all records, value by value, (C, H, W) float32 in the records' own order of channels (B, G, R).

    Raises:
        DatabaseError: there is no such database, it is empty, a record cannot be decoded or differs in shape.
        WriteError: `out` cannot be written.

    >>> import caffecompat
    >>> report = caffecompat.build_database("list.txt", "mean_lmdb")
    >>> mean = caffecompat.compute_image_mean("mean_lmdb", "mean.binaryproto")
    >>> (mean.shape, float(mean.mean()))
    ((3, 8, 8), 112.5)
    """
    with open_database(database, backend) as reader:
        mean = mean_image(reader, threads=threads, on_progress=on_progress)
    if out is not None:
        write_mean(out, mean)
    return mean


def mean_image(
    database: DatabaseReader,
    *,
    threads: int = 0,
    on_progress: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """Mean of all records, pixel by pixel: (C, H, W) float32.

    Caffe adds in float32, which is exact up to 65000 pictures and loses digits beyond; here the sum is exact.

    Raises:
        DatabaseError: the database is empty or damaged, a record cannot be decoded or differs in shape from the first.
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
    database.check_count(done)
    mean: np.ndarray = total.astype(np.float32) / np.float32(done)
    return mean


def _values(path: str, key: bytes, record: bytes) -> np.ndarray:
    """(C, H, W) values of a record, decoded with the file's own channels."""
    try:
        datum = decode_datum(record)
        return datum.image().transpose(2, 0, 1) if datum.encoded else datum.array()
    except DatumError as error:
        raise DatabaseError(f"{path}: record {key.decode(errors='replace')}: {error}") from None


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
