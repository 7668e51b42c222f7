"""Several databases read as one: the shards of a folder, several paths, or a pattern.

What a source names is, in this order: a database that is there under just this name; a folder of shards, as
``lmdb build --shards N`` makes them (``shard-00000-of-00004``, ...); several of these with commas between them
(``a_lmdb,b_lmdb``); a pattern with ``*``, ``?`` or ``[...]`` (``train_*_lmdb``), whose databases follow each other in
the order of their numbers, then of their names. A number that is missing is an error.
"""

from __future__ import annotations

import glob
import os
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise

from caffecompat.formats.database import Cursor, DatabaseError, DatabaseReader, Record, detect_backend, open_database
from caffecompat.paths import RelativeTo, look_up, with_slashes
from caffecompat.wording import few

__all__ = ["ShardedReader", "database_folders", "is_shard", "names_several", "shard_name", "shards_of"]

_SHARD = re.compile(r"shard-(\d+)-of-(\d+)")
_NUMBERED = re.compile(r"(?:.*\D)?(\d+)-of-(\d+)")
_WILD = re.compile(r"(?:\*|\?|\[[^\]]+\])+")
_MOST = 100_000  # shards; a number above it is no shard's


def shard_name(number: int, count: int) -> str:
    """The folder of a shard, counted from 0."""
    return f"shard-{number:05}-of-{count:05}"


def is_shard(name: str) -> bool:
    """Whether a folder's name is that of a shard."""
    return _SHARD.fullmatch(name) is not None


def names_several(source: str, relative_to: RelativeTo = None) -> bool:
    """Whether a source is a list of paths or a pattern, rather than a path: there is nothing of just this name."""
    return look_up(source, relative_to) is None and ("," in source or bool(_WILD.search(source)))


def database_folders(source: str, relative_to: RelativeTo = None) -> list[str]:
    """The folders of the databases that a source names, in the order in which they are read.

    Args:
        source: see above.
        relative_to: a file next to which paths are looked for that are not in the current directory.

    Returns:
        One folder or several; a path that names no shards is given back as it is, whether anything is there or not.

    Raises:
        DatabaseError: a shard is missing, or a pattern has no match.
    """
    if not names_several(source, relative_to):
        found = look_up(source, relative_to) or source
        return shards_of(found) or [found]
    if "," not in source:
        return [folder for match in _matches(source, relative_to) for folder in (shards_of(match) or [match])]
    parts = [part.strip() for part in source.split(",")]
    if not all(parts):
        raise DatabaseError(f"{source}: expected paths of databases with one comma between two")
    folders = [folder for part in parts for folder in database_folders(part, relative_to)]
    missing = [folder for folder in folders if not os.path.isdir(folder)]
    if missing:
        raise DatabaseError(f"{source}: there is no database at {few(missing)}")
    return folders


def shards_of(folder: str) -> list[str]:
    """The shards in a folder, in order; [] where it is no folder of shards.

    Raises:
        DatabaseError: one is missing.
    """
    if not os.path.isdir(folder) or any(os.path.exists(os.path.join(folder, name)) for name in ("data.mdb", "CURRENT")):
        return []
    found = [(int(match[1]), int(match[2])) for name in os.listdir(folder) if (match := _SHARD.fullmatch(name))]
    if found:
        _check_complete(folder, found)
    return [os.path.join(folder, shard_name(number, len(found))) for number in range(len(found))]


def _matches(pattern: str, relative_to: RelativeTo) -> list[str]:
    """The databases whose names fit a pattern, in the order of their numbers."""
    pattern = with_slashes(pattern)
    base, found = "", _fitting(pattern, "")
    if not found and relative_to is not None:
        base = os.path.dirname(os.fspath(relative_to))
        found = _fitting(pattern, base)
    if not found:
        raise DatabaseError(f"{pattern}: no database has such a name")
    wild = list(_WILD.finditer(pattern))
    if len(wild) == 1:
        head, tail = len(pattern[: wild[0].start()]), len(pattern) - wild[0].end()
        _check_numbers(pattern, [name[head : len(name) - tail] for name in found])
    paths = [os.path.join(base, name) for name in sorted(found, key=_natural)]
    for path in paths:
        if detect_backend(path) is None:
            raise DatabaseError(f"{pattern}: {path} has such a name and is no database (an unfinished build?)")
    return paths


def _fitting(pattern: str, base: str) -> list[str]:
    return [name for name in glob.glob(pattern, root_dir=base or None) if os.path.isdir(os.path.join(base, name))]


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts train_2 before train_10."""
    return [(int(word), "") if word.isdecimal() else (-1, word) for word in re.split(r"(\d+)", name)]


def _check_numbers(pattern: str, parts: Sequence[str]) -> None:
    """Refuse gaps between the numbers that a pattern's wildcards stand for, where they are numbers."""
    numbered = [match for part in parts if (match := _NUMBERED.fullmatch(part))]
    if len(numbered) == len(parts):
        _check_complete(pattern, [(int(match[1]), int(match[2])) for match in numbered])
    elif all(part.isdecimal() for part in parts):
        numbers = sorted(map(int, parts))
        first = min(1, numbers[0])
        if numbers != list(range(first, first + len(numbers))):
            absent = sorted(set(range(first, min(numbers[-1], _MOST))) - set(numbers))
            why = f"{few([*map(str, absent)])} missing" if absent else "one number is there twice"
            raise DatabaseError(
                f"{pattern}: the numbers of the databases are {few([*map(str, numbers)], 8)}: {why}. Where that is "
                "right, name them one by one, with commas between them"
            )


def _check_complete(source: str, shards: Sequence[tuple[int, int]]) -> None:
    """Refuse shards, given as (number, how many there are), that are not the whole of one set."""
    counts = sorted({count for _, count in shards})
    if len(counts) > 1:
        raise DatabaseError(f"{source} has shards of {few([*map(str, counts)])}: those of several builds are mixed")
    absent = [str(number) for number in range(min(counts[0], _MOST)) if (number, counts[0]) not in set(shards)]
    if absent or len(shards) != counts[0]:
        what = f"shard {few(absent)} of {counts[0]} is missing" if absent else "a shard is there twice"
        raise DatabaseError(f"{source}: {what} (they count from 0)")


class ShardedReader(DatabaseReader):
    """Several databases, one after the other, as one.

    Keys are those of the databases where all of one are before all of the next, as in shards of one build; else each
    has its database's number before it: ``00001/00000007_a.png``.

    Args:
        source: what names them, for messages.
        folders: of the databases.
        backend: that they must have; by default each is asked.
    """

    def __init__(self, source: str, folders: Sequence[str], backend: str | None = None) -> None:
        self.path, self.folders = source, tuple(folders)
        self._readers: list[DatabaseReader] = []
        try:
            for folder in folders:
                self._readers.append(open_database(folder, backend))
            kinds = {reader.backend for reader in self._readers}
            if len(kinds) > 1:
                raise DatabaseError(f"{source}: some of its databases are LMDBs and some LevelDBs")
            bounds = [(next(reader.keys(), None), reader.last_key()) for reader in self._readers]
        except BaseException:
            self.close()
            raise
        self.backend = kinds.pop()
        kept = [reader for reader, (first, _) in zip(self._readers, bounds, strict=True) if first is not None]
        filled = [(first, last) for first, last in bounds if first is not None and last is not None]
        ordered = all(last < first for (_, last), (first, _) in pairwise(filled))
        self._shards = _Shards(kept, [last for _, last in filled] if ordered else None)

    def __len__(self) -> int:
        return sum(map(len, self._readers))

    def check_count(self, found: int) -> None:
        if found != len(self):
            for reader in self._readers:
                reader.check_count(len(list(reader.keys())))

    def cursor(self) -> ShardedCursor:
        return ShardedCursor(self._shards)

    def get(self, key: bytes) -> bytes | None:
        at, inner = self._shards.find(key)
        return self._shards.readers[at].get(inner) if at < len(self._shards.readers) else None

    def keys(self) -> Iterator[bytes]:
        for at, reader in enumerate(self._shards.readers):
            head = self._shards.head(at)
            yield from map(head.__add__, reader.keys())

    def last_key(self) -> bytes | None:
        if not self._shards.readers:
            return None
        last = self._shards.readers[-1].last_key()
        return None if last is None else self._shards.head(len(self._shards.readers) - 1) + last

    def close(self) -> None:
        for reader in self._readers:
            reader.close()


class _Shards:
    """Databases that have records, and how a key names one of theirs.

    Args:
        last_keys: of each, where their keys are in order throughout; None where keys need the database's number.
    """

    def __init__(self, readers: Sequence[DatabaseReader], last_keys: Sequence[bytes] | None) -> None:
        self.readers, self._last_keys = readers, last_keys
        self._heads = [b"%05d/" % at if last_keys is None else b"" for at in range(len(readers))]

    def head(self, at: int) -> bytes:
        """What is before the keys of a database."""
        return self._heads[at]

    def find(self, key: bytes) -> tuple[int, bytes]:
        """The database of the first record whose key is not before `key`, and from which of its own keys on it is."""
        if self._last_keys is not None:
            return bisect_left(self._last_keys, key), key
        at = bisect_right(self._heads, key) - 1
        if at >= 0 and key.startswith(self._heads[at]):
            return at, key[len(self._heads[at]) :]
        return at + 1, b""


class ShardedCursor(Cursor):
    """A walk through one database after the other."""

    def __init__(self, shards: _Shards) -> None:
        self._shards = shards
        self._cursor: Cursor | None = None
        self._at = 0
        self._enter(0)

    def read(self, count: int) -> list[Record]:
        records: list[Record] = []
        while len(records) < count and self._cursor is not None:
            found = self._cursor.read(count - len(records))
            head = self._shards.head(self._at)
            records += [(head + key, value) for key, value in found] if head else found
            if len(records) < count:
                self._enter(self._at + 1)
        return records

    def skip(self, count: int) -> int:
        skipped = 0
        while skipped < count and self._cursor is not None:
            skipped += self._cursor.skip(count - skipped)
            if skipped < count:
                self._enter(self._at + 1)
        return skipped

    def rewind(self) -> None:
        self._enter(0)

    def seek(self, key: bytes) -> None:
        at, inner = self._shards.find(key)
        self._enter(at)
        if self._cursor is not None and inner:
            self._cursor.seek(inner)

    def close(self) -> None:
        if self._cursor is not None:
            self._cursor.close()
        self._cursor = None

    def _enter(self, at: int) -> None:
        """To the first record of a database; after the last one there is none."""
        self.close()
        self._at = at
        if at < len(self._shards.readers):
            self._cursor = self._shards.readers[at].cursor()
