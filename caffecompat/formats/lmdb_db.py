"""LMDB databases: read page by page (see `lmdb_pages`, which says why), written through the `lmdb` module."""

from __future__ import annotations

import errno
import os
import shutil
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path

import lmdb

from caffecompat.formats.database import (
    Cursor,
    DatabaseError,
    DatabaseReader,
    DatabaseWriteError,
    DatabaseWriter,
    Record,
    key_text,
)
from caffecompat.formats.lmdb_pages import Branch, Leaf, LmdbFile

__all__ = ["LmdbReader", "LmdbWriter"]

_FIRST_MAP = 64 << 20
_AFTER_ALL = b"\xff" * 512  # keys have 511 bytes at most
_SPARE = 1 << 20  # a disk with less than this left besides what is written counts as full


class LmdbReader(DatabaseReader):
    """An LMDB open for reading.

    It shows the database as it was when opened. No byte of the user's folder changes (no lock file is made), read-only
    media work, and a database may be open any number of times; what is given up is reading while another process
    writes to it, which no training does.
    """

    backend = "lmdb"

    def __init__(self, path: str) -> None:
        self.path, self.folders = path, (path,)
        self._file = LmdbFile(path)
        if self._file.size < self._file.needed:
            # LMDB leaves out the last pages where nothing is in them, so only a look at all tells.
            self._check_extents()

    def __len__(self) -> int:
        return self._file.entries

    def cursor(self) -> LmdbCursor:
        return LmdbCursor(self._file)

    def get(self, key: bytes) -> bytes | None:
        cursor = LmdbCursor(self._file, key)
        found = cursor.read(1)
        return found[0][1] if found and found[0][0] == key else None

    def keys(self) -> Iterator[bytes]:
        cursor = LmdbCursor(self._file)
        while keys := cursor.read_keys(1024):
            yield from keys

    def last_key(self) -> bytes | None:
        return LmdbCursor(self._file, _AFTER_ALL).last_of_leaf

    def check_count(self, found: int) -> None:
        if found != len(self):
            raise self._file.damage(f"its meta page counts {len(self)} records, there are {found}")

    def close(self) -> None:
        self._file.close()

    def _check_extents(self) -> None:
        cursor = LmdbCursor(self._file)
        while leaf := cursor.take_leaf():
            for index in range(len(leaf.keys)):
                self._file.extent(leaf, index)


class LmdbCursor(Cursor):
    """A walk over the leaves, from left to right; the next one is read when a record of it is asked for."""

    def __init__(self, file: LmdbFile, key: bytes = b"") -> None:
        self._file = file
        self._path: list[tuple[Branch, int]] = []  # the inner pages from the root on, and which child was taken
        self._leaf: Leaf | None = None
        self._last = b""  # the leaf's last key
        self._at = 0  # the next record's index in the leaf
        self.seek(key)

    def read(self, count: int) -> list[Record]:
        records: list[Record] = []
        while len(records) < count and (leaf := self._current()):
            stop = min(len(leaf.keys), self._at + count - len(records))
            records += [(leaf.keys[index], self._file.value(leaf, index)) for index in range(self._at, stop)]
            self._at = stop
        return records

    def read_keys(self, count: int) -> list[bytes]:
        """The keys of the next `count` records, whose values are not read; fewer at the end, [] when there."""
        keys: list[bytes] = []
        while len(keys) < count and (leaf := self._current()):
            found = leaf.keys[self._at : self._at + count - len(keys)]
            keys += found
            self._at += len(found)
        return keys

    def skip(self, count: int) -> int:
        skipped = 0
        while skipped < count and (leaf := self._current()):
            step = min(len(leaf.keys) - self._at, count - skipped)
            skipped += step
            self._at += step
        return skipped

    @property
    def last_of_leaf(self) -> bytes | None:
        """The last key of the page that the cursor is in; None in an empty database."""
        return self._last or None

    def take_leaf(self) -> Leaf | None:
        """The page of the next record, whose records count as read; None at the end."""
        leaf = self._current()
        if leaf is not None:
            self._at = len(leaf.keys)
        return leaf

    def rewind(self) -> None:
        self.seek(b"")

    def seek(self, key: bytes) -> None:
        self._leaf, self._last, self._at = None, b"", 0
        if self._file.depth:
            self._at = bisect_left(self._descend([], self._file.root, key).keys, key)

    def close(self) -> None:
        self._leaf, self._path = None, []

    def _current(self) -> Leaf | None:
        """The leaf with the next record; None after the last one."""
        if self._leaf is None or self._at < len(self._leaf.keys):
            return self._leaf
        level = len(self._path) - 1
        while level >= 0 and self._path[level][1] + 1 == len(self._path[level][0].children):
            level -= 1
        if level < 0:
            return None
        branch, child = self._path[level]
        self._descend([*self._path[:level], (branch, child + 1)], branch.children[child + 1], b"")
        self._at = 0
        return self._leaf

    def _descend(self, path: list[tuple[Branch, int]], number: int, key: bytes) -> Leaf:
        """To the leaf where `key` would be, from the page `number` at the end of a path.

        Its keys must follow those of the leaf before, so that damaged links cannot make a walk without end. Where it
        cannot be read the cursor stays before it, so that this is an error again.
        """
        try:
            while len(path) < self._file.depth - 1:
                branch = self._file.branch(number)
                # The first key of an inner page says nothing: its first child has everything before the second key.
                child = bisect_right(branch.keys, key, lo=1) - 1
                path.append((branch, child))
                number = branch.children[child]
            leaf = self._file.leaf(number)
            if leaf.keys[0] <= self._last:
                raise self._file.damage(f"page {number} begins with {key_text(leaf.keys[0])!r}, out of order")
        except DatabaseError as problem:
            behind = f" (after record {key_text(self._last)!r})" if self._last else ""
            raise DatabaseError(f"{problem}{behind}") from None
        self._path, self._leaf, self._last = path, leaf, leaf.keys[-1]
        return leaf


class LmdbWriter(DatabaseWriter):
    """An LMDB open for writing; its map starts small and doubles when full, so the file is never sparse."""

    backend = "lmdb"

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            size = Path(path, "data.mdb").stat().st_size
        except OSError:
            size = 0
        if size:
            LmdbReader(path).close()  # what is added to must be whole
        try:
            # liblmdb's lock file is sparse and written through memory, which ends the process where the disk is full.
            # Two processes that build one database at once are kept apart by its builder.
            self._environment = lmdb.open(os.fsencode(path), map_size=max(_FIRST_MAP, 2 * size), lock=False)
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
