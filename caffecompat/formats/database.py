"""Key-value databases of records, LMDB or LevelDB, with one interface.

`open_database` is the way in. Records come in key order, as Caffe's cursors
give them; the reader of a training set wraps around by itself (`Cursor.rewind`).
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, TypeVar, overload

from caffecompat.errors import CaffeCompatError

__all__ = [
    "Cursor",
    "DatabaseError",
    "DatabaseReader",
    "DatabaseWriteError",
    "DatabaseWriter",
    "detect_backend",
    "key_text",
    "open_database",
]

Record = tuple[bytes, bytes]
_T = TypeVar("_T", bound="_Closing")


class DatabaseError(CaffeCompatError):
    """A database that cannot be opened, read or written."""


class DatabaseWriteError(DatabaseError):
    """A database that cannot be made or written to (a full disk)."""

    status = 1  # nothing that was read is at fault


class Cursor(ABC):
    """A place in a database. One thread at a time may use it; several cursors may be used at once."""

    @abstractmethod
    def read(self, count: int) -> list[Record]:
        """The next `count` (key, value) records and move after them; fewer at the end, [] when there."""

    @abstractmethod
    def skip(self, count: int) -> int:
        """Move on by `count` records without reading them; returns how many there were."""

    @abstractmethod
    def rewind(self) -> None:
        """Back to the first record."""

    @abstractmethod
    def seek(self, key: bytes) -> None:
        """To the first record whose key is not before `key`."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the database's resources; also done by the garbage collector."""


class _Closing:
    """The with-statement for what has close()."""

    def __enter__(self: _T) -> _T:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        raise NotImplementedError


class DatabaseReader(_Closing, ABC):
    """A database open for reading; its files are never changed."""

    backend: str
    path: str
    folders: tuple[str, ...]  # where its files lie: several, where several databases are read as one

    @abstractmethod
    def __len__(self) -> int:
        """Number of records (LevelDB has to walk all keys for it, once)."""

    def check_count(self, found: int) -> None:
        """Hold the number of records that a walk over all of them gave against what the files say.

        Raises:
            DatabaseError: they differ.
        """

    @abstractmethod
    def cursor(self) -> Cursor:
        """A new cursor at the first record."""

    @abstractmethod
    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, or None. May be called from several threads."""

    @abstractmethod
    def keys(self) -> Iterator[bytes]:
        """All keys in order."""

    @abstractmethod
    def last_key(self) -> bytes | None:
        """The key of the last record, found without a walk over the others; None where there is none."""

    def __iter__(self) -> Iterator[Record]:
        """All records in key order."""
        cursor = self.cursor()
        try:
            while records := cursor.read(64):
                yield from records
        finally:
            cursor.close()


class DatabaseWriter(_Closing, ABC):
    """A database open for writing."""

    backend: str
    path: str

    @abstractmethod
    def put(self, records: Sequence[tuple[bytes, bytes]]) -> None:
        """Write records in one transaction: all of them are on disk afterwards, or none.

        Raises:
            DatabaseError: the disk is full, or writing fails in another way.
        """


def key_text(key: bytes) -> str:
    """A key for messages."""
    return key.decode(errors="backslashreplace")


def detect_backend(path: str | os.PathLike[str]) -> str | None:
    """ "lmdb" or "leveldb" by the files in the folder, or in the first of several (`shards`); None if it is neither."""
    from caffecompat.formats import shards

    return _kind(shards.database_folders(os.fspath(path))[0])


def _kind(path: str) -> str | None:
    folder = Path(path)
    if (folder / "data.mdb").is_file():
        return "lmdb"
    if (folder / "CURRENT").is_file():
        return "leveldb"
    return None


@overload
def open_database(
    path: str | os.PathLike[str], backend: str | None = None, mode: Literal["r"] = "r"
) -> DatabaseReader: ...


@overload
def open_database(path: str | os.PathLike[str], backend: str | None, mode: Literal["w", "a"]) -> DatabaseWriter: ...


def open_database(
    path: str | os.PathLike[str], backend: str | None = None, mode: Literal["r", "w", "a"] = "r"
) -> DatabaseReader | DatabaseWriter:
    """Open a database.

    Args:
        path: the database's folder; for reading also a folder of shards, several paths with commas between them, or a
            pattern (see `shards`).
        backend: "lmdb" or "leveldb" in any case (Caffe's `backend` field and flag); None finds out by
            looking (reading) or is "lmdb" (writing).
        mode: "r" reads; "w" makes a new database, the folder must not exist yet; "a" adds to one, made if absent.

    Raises:
        DatabaseError: there is none (or one already, with "w"), it is of the other kind, damaged or not
            accessible, or the backend's module is not installed.
    """
    from caffecompat.formats import shards

    name = os.fspath(path)
    if backend is not None and backend.lower() not in ("lmdb", "leveldb"):
        raise DatabaseError(f"unknown database backend {backend!r}; expected lmdb or leveldb")
    wanted = backend.lower() if backend else None
    folders = shards.database_folders(name) if mode == "r" else [name]
    if folders != [name]:
        return shards.ShardedReader(name, folders, backend)
    found = _kind(name)
    if mode == "w" and os.path.lexists(name):
        raise DatabaseError(f"{name} exists already; remove it or choose another name")
    if mode == "r":
        _check_readable(name, wanted, found)
    elif found and wanted and found != wanted:
        raise DatabaseError(f"{name} is a {_NAMES[found]}, not a {_NAMES[wanted]}")
    kind = wanted or found or "lmdb"
    if kind == "lmdb":
        from caffecompat.formats import lmdb_db

        return lmdb_db.LmdbReader(name) if mode == "r" else lmdb_db.LmdbWriter(name)
    from caffecompat.formats import leveldb_db

    return leveldb_db.LevelDbReader(name) if mode == "r" else leveldb_db.LevelDbWriter(name)


_NAMES = {"lmdb": "LMDB", "leveldb": "LevelDB"}


def _check_readable(name: str, wanted: str | None, found: str | None) -> None:
    if found is None:
        if not os.path.lexists(name):
            partial = f"\n{name}.partial is an unfinished build of it" if os.path.isdir(name + ".partial") else ""
            raise DatabaseError(f"no database at {name}: the folder does not exist{partial}")
        what = (
            "a folder without data.mdb (LMDB) or CURRENT (LevelDB)" if os.path.isdir(name) else "a file, not a folder"
        )
        raise DatabaseError(f"no database at {name}: it is {what}")
    if wanted and wanted != found:
        raise DatabaseError(
            f"{name} is a {_NAMES[found]} and is opened as a {_NAMES[wanted]}; say backend {found.upper()} "
            f"(backend: {found.upper()} in data_param, whose default is LEVELDB; --backend={found} on the command line)"
        )
