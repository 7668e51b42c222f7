"""LevelDB databases through `plyvel`.

LevelDB knows no reading without writing: opening takes a lock, replays the log
and deletes files it finds obsolete, and reading may merge tables. So a reader
opens a shadow of the folder in a temporary place: links to the tables (which
LevelDB never changes once written), copies of the few small other files. The
user's files stay as they are, read-only folders work, and two data layers may
read one database, which Caffe's lock forbids.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from typing import Any

from caffecompat.formats.database import Cursor, DatabaseError, DatabaseReader, DatabaseWriter, Record

try:
    import plyvel
except ImportError as _error:
    raise DatabaseError(
        "LevelDB databases need the module plyvel, which is not installed: pip install 'caffecompat[leveldb]'. "
        "(An LMDB needs nothing more.)"
    ) from _error

__all__ = ["LevelDbReader", "LevelDbWriter"]


def _shadow(path: str) -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory(prefix="caffecompat-leveldb-")
    try:
        for entry in os.scandir(path):
            target = os.path.join(folder.name, entry.name)
            if entry.name.endswith((".sst", ".ldb")):
                _link(os.path.abspath(entry.path), target)
            elif entry.name == "CURRENT" or entry.name.startswith("MANIFEST-") or entry.name.endswith(".log"):
                shutil.copyfile(entry.path, target)
    except OSError as error:
        folder.cleanup()
        raise DatabaseError(f"cannot read the LevelDB {path}: {error.strerror}: {error.filename}") from None
    return folder


def _link(source: str, target: str) -> None:
    try:
        os.symlink(source, target)
    except OSError:  # file systems and systems without symbolic links
        shutil.copyfile(source, target)


@contextmanager
def _translated_errors(doing: str, path: str, folder: str = "") -> Iterator[None]:
    """LevelDB's errors as ours, naming the user's folder rather than its shadow."""
    try:
        yield
    except (plyvel.Error, OSError) as error:
        reason = error.args[0] if error.args else error
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        if folder:
            text = text.replace(folder, path)
        raise DatabaseError(f"cannot {doing} the LevelDB {path}: {text}") from None


class LevelDbReader(DatabaseReader):
    """A LevelDB open for reading."""

    backend = "leveldb"

    def __init__(self, path: str) -> None:
        self.path = path
        self._count: int | None = None
        self._folder = _shadow(path)
        try:
            with self._translated_errors("open"):
                self._database = plyvel.DB(self._folder.name, max_open_files=100)
        except DatabaseError:
            self._folder.cleanup()
            raise

    def _translated_errors(self, doing: str = "read") -> AbstractContextManager[None]:
        return _translated_errors(doing, self.path, self._folder.name)

    def __len__(self) -> int:
        if self._count is None:
            self._count = sum(1 for _ in self.keys())
        return self._count

    def cursor(self) -> LevelDbCursor:
        with self._translated_errors():
            return LevelDbCursor(self._database, self._translated_errors)

    def get(self, key: bytes) -> bytes | None:
        with self._translated_errors():
            return self._database.get(key)

    def keys(self) -> Iterator[bytes]:
        with self._translated_errors(), self._database.iterator(include_value=False, fill_cache=False) as iterator:
            yield from iterator

    def close(self) -> None:
        self._database.close()
        self._folder.cleanup()


class LevelDbCursor(Cursor):
    """A cursor over LevelDB's snapshot of the moment it was made."""

    def __init__(self, database: Any, translated_errors: Callable[[], AbstractContextManager[None]]) -> None:
        self._translated_errors = translated_errors
        self._iterator = database.iterator(fill_cache=False, verify_checksums=True)

    def read(self, count: int) -> list[Record]:
        with self._translated_errors():
            return list(islice(self._iterator, count))

    def skip(self, count: int) -> int:
        return len(self.read(count))

    def rewind(self) -> None:
        with self._translated_errors():
            self._iterator.seek_to_start()

    def seek(self, key: bytes) -> None:
        with self._translated_errors():
            self._iterator.seek(key)

    def close(self) -> None:
        self._iterator.close()


class LevelDbWriter(DatabaseWriter):
    """A LevelDB open for writing, with the block size Caffe sets."""

    backend = "leveldb"

    def __init__(self, path: str) -> None:
        self.path = path
        with _translated_errors("write", path):
            self._database = plyvel.DB(path, create_if_missing=True, block_size=65536, write_buffer_size=64 << 20)

    def put(self, records: Sequence[tuple[bytes, bytes]]) -> None:
        with _translated_errors("write to", self.path), self._database.write_batch(sync=True) as batch:
            for key, value in records:
                batch.put(key, value)

    def close(self) -> None:
        self._database.close()
