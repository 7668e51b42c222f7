"""LMDB databases through the `lmdb` module."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import ClassVar

import lmdb

from caffecompat.formats.database import (
    Cursor,
    DatabaseError,
    DatabaseReader,
    DatabaseWriteError,
    DatabaseWriter,
    Record,
)

__all__ = ["LmdbReader", "LmdbWriter"]

_FIRST_MAP = 64 << 20
_SPARE = 1 << 20  # a disk with less than this left besides what is written counts as full


class _Shared:
    """Environments open for reading: LMDB forbids to open one twice in a process, two data layers may name one."""

    lock = threading.Lock()
    open: ClassVar[dict[str, tuple[lmdb.Environment, int]]] = {}

    @classmethod
    def acquire(cls, path: str) -> tuple[str, lmdb.Environment]:
        key = os.path.realpath(path)
        with cls.lock:
            environment, users = cls.open.get(key) or (_open_for_reading(path), 0)
            cls.open[key] = (environment, users + 1)
        return key, environment

    @classmethod
    def release(cls, key: str) -> None:
        with cls.lock:
            environment, users = cls.open.pop(key)
            if users > 1:
                cls.open[key] = (environment, users - 1)
            else:
                environment.close()


def _open_for_reading(path: str) -> lmdb.Environment:
    # Without the lock file no byte of the user's folder changes and read-only media work. What is
    # given up: reading while another process writes to the same database, which no training does.
    try:
        return lmdb.open(path, readonly=True, lock=False)
    except lmdb.Error as error:
        raise DatabaseError(f"cannot open the LMDB {path}: {error}") from None


class LmdbReader(DatabaseReader):
    """An LMDB open for reading."""

    backend = "lmdb"

    def __init__(self, path: str) -> None:
        self.path = path
        self._key: str | None
        self._key, self._environment = _Shared.acquire(path)

    def __len__(self) -> int:
        return int(self._environment.stat()["entries"])

    def cursor(self) -> LmdbCursor:
        return LmdbCursor(self._environment, self.path)

    def get(self, key: bytes) -> bytes | None:
        with self._environment.begin() as transaction:
            return transaction.get(key)

    def keys(self) -> Iterator[bytes]:
        with self._environment.begin() as transaction:
            yield from transaction.cursor().iternext(keys=True, values=False)

    def close(self) -> None:
        if self._key is not None:
            _Shared.release(self._key)
            self._key = None

    def __del__(self) -> None:
        if getattr(self, "_key", None) is not None:
            self.close()


class LmdbCursor(Cursor):
    """A cursor with its own read transaction: it sees the database as it was when the cursor was made."""

    def __init__(self, environment: lmdb.Environment, path: str) -> None:
        self._path = path
        self._transaction = environment.begin()
        self._cursor = self._transaction.cursor()
        self._there = self._cursor.first()

    def read(self, count: int) -> list[Record]:
        if not self._there or count < 1:
            return []
        try:
            records = list(islice(self._cursor.iternext(), count))
            self._there = self._cursor.next() if len(records) == count else False
        except lmdb.Error as error:
            raise DatabaseError(f"{self._path} is damaged: {error}") from None
        return records

    def skip(self, count: int) -> int:
        skipped = 0
        while skipped < count and self._there:
            self._there = self._cursor.next()
            skipped += 1
        return skipped

    def rewind(self) -> None:
        self._there = self._cursor.first()

    def seek(self, key: bytes) -> None:
        self._there = self._cursor.set_range(key)

    def close(self) -> None:
        self._cursor.close()
        self._transaction.abort()
        self._there = False


class LmdbWriter(DatabaseWriter):
    """An LMDB open for writing; its map starts small and doubles when full, so the file is never sparse."""

    backend = "lmdb"

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            size = Path(path, "data.mdb").stat().st_size
        except OSError:
            size = 0
        try:
            self._environment = lmdb.open(path, map_size=max(_FIRST_MAP, 2 * size))
        except (lmdb.Error, OSError) as error:
            raise DatabaseWriteError(f"cannot write the LMDB {path}: {_reason(error, path)}") from None

    def put(self, records: Sequence[tuple[bytes, bytes]]) -> None:
        while True:
            try:
                with self._environment.begin(write=True) as transaction:
                    for key, value in records:
                        transaction.put(key, value)
                return
            except lmdb.MapFullError:
                self._environment.set_mapsize(2 * self._environment.info()["map_size"])
            except (lmdb.Error, OSError) as error:
                size = sum(len(key) + len(value) for key, value in records)
                raise DatabaseWriteError(
                    f"cannot write to the LMDB {self.path}: {_reason(error, self.path, size)}"
                ) from None

    def close(self) -> None:
        self._environment.close()


def _reason(error: Exception, path: str, size: int = 0) -> str:
    """What went wrong, in the system's words where it was the system."""
    text = str(error)
    # LMDB calls a write that was cut short by a full disk an input/output error.
    if os.strerror(errno.EIO) in text and os.path.isdir(path) and shutil.disk_usage(path).free < size + _SPARE:
        return os.strerror(errno.ENOSPC)
    for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS, errno.ENOENT, errno.EIO):
        if os.strerror(code) in text:
            return os.strerror(code)
    return text
