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
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from caffecompat.formats.database import (
    Cursor,
    DatabaseError,
    DatabaseReader,
    DatabaseWriteError,
    DatabaseWriter,
    Record,
    key_text,
)

try:
    import plyvel
except ImportError as _error:
    raise DatabaseError(
        "LevelDB databases need the module plyvel, which is not installed: pip install 'caffecompat[leveldb]'. "
        "(An LMDB needs nothing more.)"
    ) from _error

__all__ = ["LevelDbReader", "LevelDbWriter"]

_LOG_BLOCK, _ENTRY_HEAD = 32768, 7
_WHOLE, _LAST = 1, 4  # kinds of a log's entries


def _shadow(path: str) -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory(prefix="caffecompat-leveldb-")
    try:
        for entry in os.scandir(path):
            target = os.path.join(folder.name, entry.name)
            if entry.name.endswith((".sst", ".ldb")):
                _link(os.path.abspath(entry.path), target)
            elif entry.name == "CURRENT" or entry.name.startswith("MANIFEST-") or entry.name.endswith(".log"):
                shutil.copyfile(entry.path, target)
                if entry.name != "CURRENT":
                    _check_log(entry.path, Path(target).read_bytes())
    except DatabaseError:
        folder.cleanup()
        raise
    except OSError as error:
        folder.cleanup()
        raise DatabaseError(f"cannot read the LevelDB {path}: {error.strerror}: {error.filename}") from None
    return folder


def _check_log(path: str, data: bytes) -> None:
    """Refuse a log (of records not in a table yet, or of the tables) whose last entry is not whole.

    LevelDB takes it for a write that its program did not live to finish, and leaves it out without a word; so it does
    where a damaged length makes it look so. Layout: blocks of 32 KiB, in each entries of a checksum (4 bytes), length
    (2), kind (1: whole, 2 to 4: the first, middle, last part of one that crosses blocks; 0: space not used), content.
    """
    at, kind = 0, _WHOLE
    while at < len(data):
        left = _LOG_BLOCK - at % _LOG_BLOCK
        length, found = int.from_bytes(data[at + 4 : at + 6], "little"), (data[at + 6 : at + 7] or b"\0")[0]
        if left < _ENTRY_HEAD:
            at += left
        elif found == length == 0:
            if not at or any(data[at:]):
                raise DatabaseError(f"{path} is damaged: no entry begins at byte {at}")
            return  # space that versions of Caffe's time made ready in advance
        else:
            kind, at = found, at + _ENTRY_HEAD + length
    if kind not in (_WHOLE, _LAST) or (at > len(data) and at % _LOG_BLOCK):
        raise DatabaseError(
            f"{path} is cut short: it ends in the middle of an entry; whatever wrote it was stopped, or it was not "
            "copied whole. Copy or build the database again"
        )


def _link(source: str, target: str) -> None:
    try:
        os.symlink(source, target)
    except OSError:  # file systems and systems without symbolic links
        shutil.copyfile(source, target)


@contextmanager
def _translated_errors(
    doing: str, path: str, folder: str = "", *, after: bytes = b"", refusal: type[DatabaseError] = DatabaseError
) -> Iterator[None]:
    """LevelDB's errors as ours, naming the user's folder rather than its shadow, and the record read before."""
    try:
        yield
    except (plyvel.Error, OSError) as error:
        reason = error.args[0] if error.args else error
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        if folder:
            text = text.replace(folder, path)
        where = f" (after record {key_text(after)!r})" if after else ""
        raise refusal(f"cannot {doing} the LevelDB {path}: {text}{where}") from None


class LevelDbReader(DatabaseReader):
    """A LevelDB open for reading."""

    backend = "leveldb"

    def __init__(self, path: str) -> None:
        self.path, self.folders = path, (path,)
        self._count: int | None = None
        self._folder = _shadow(path)
        try:
            with self._translated_errors("open"):
                # Otherwise LevelDB leaves out records of a damaged log without a word.
                self._database = plyvel.DB(os.fsencode(self._folder.name), max_open_files=100, paranoid_checks=True)
        except DatabaseError:
            self._folder.cleanup()
            raise

    def _translated_errors(self, doing: str = "read", *, after: bytes = b"") -> AbstractContextManager[None]:
        return _translated_errors(doing, self.path, self._folder.name, after=after)

    def __len__(self) -> int:
        if self._count is None:
            self._count = sum(1 for _ in self.keys())
        return self._count

    def cursor(self) -> LevelDbCursor:
        with self._translated_errors():
            return LevelDbCursor(self._database, self._translated_errors)

    def get(self, key: bytes) -> bytes | None:
        with self._translated_errors():
            found: bytes | None = self._database.get(key, verify_checksums=True)
        return self._walked_to(key) if found is None else found

    def _walked_to(self, key: bytes) -> bytes | None:
        """The value found without the table of a file's keys, which says that keys are not there when it is damaged."""
        with self._translated_errors(), self._database.raw_iterator(verify_checksums=True) as iterator:
            iterator.seek(key)
            value: bytes | None = iterator.value() if iterator.valid() and iterator.key() == key else None
        return value

    def keys(self) -> Iterator[bytes]:
        cursor = self.cursor()
        try:
            while keys := cursor.read_keys(1024):
                yield from keys
        finally:
            cursor.close()

    def last_key(self) -> bytes | None:
        with self._translated_errors(), self._database.raw_iterator(verify_checksums=True) as iterator:
            iterator.seek_to_last()
            last: bytes | None = iterator.key() if iterator.valid() else None
        return last

    def close(self) -> None:
        self._database.close()
        self._folder.cleanup()


class LevelDbCursor(Cursor):
    """A cursor over LevelDB's snapshot of the moment it was made.

    LevelDB steps over a block that is damaged and keeps the error to itself until somebody asks; plyvel's raw iterator
    asks at each step, its other one does not where the first block is such a one.
    """

    def __init__(self, database: Any, translated_errors: Callable[..., AbstractContextManager[None]]) -> None:
        self._translated_errors = translated_errors
        self._iterator = database.raw_iterator(fill_cache=False, verify_checksums=True)
        self.rewind()

    def read(self, count: int) -> list[Record]:
        return list(islice(self._walk(self._iterator.item), count))

    def read_keys(self, count: int) -> list[bytes]:
        """The keys of the next `count` records; fewer at the end, [] when there."""
        return list(islice(self._walk(self._iterator.key), count))

    def skip(self, count: int) -> int:
        return len(self.read_keys(count))

    def rewind(self) -> None:
        self._step_to(self._iterator.seek_to_first)

    def seek(self, key: bytes) -> None:
        self._step_to(partial(self._iterator.seek, key))

    def close(self) -> None:
        self._iterator.close()

    def _step_to(self, step: Callable[[], None]) -> None:
        self._step: Callable[[], None] | None = step  # to the next record; None at the end
        self._last = b""

    def _walk(self, look: Callable[[], Any]) -> Iterator[Any]:
        """What `look` sees at one record after the other."""
        while self._step is not None:
            with self._translated_errors(after=self._last):
                self._step()
                if not self._iterator.valid():
                    self._step = None
                    return
                self._last, seen = self._iterator.key(), look()
            self._step = self._iterator.next
            yield seen


class LevelDbWriter(DatabaseWriter):
    """A LevelDB open for writing, with the block size Caffe sets."""

    backend = "leveldb"

    def __init__(self, path: str) -> None:
        self.path = path
        with _translated_errors("write", path, refusal=DatabaseWriteError):
            self._database = plyvel.DB(
                os.fsencode(path), create_if_missing=True, block_size=65536, write_buffer_size=64 << 20
            )

    def put(self, records: Sequence[tuple[bytes, bytes]]) -> None:
        with (
            _translated_errors("write to", self.path, refusal=DatabaseWriteError),
            self._database.write_batch(sync=True) as batch,
        ):
            for key, value in records:
                batch.put(key, value)

    def close(self) -> None:
        self._database.close()
