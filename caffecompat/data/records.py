"""The records of a database round after round, in the order of their keys or shuffled."""

from __future__ import annotations

import random
from collections.abc import Iterator

from caffecompat.data.share import Share
from caffecompat.data.walk import Walk, fingerprint
from caffecompat.formats.database import DatabaseReader
from caffecompat.resumable import State

__all__ = ["Records"]

Record = tuple[bytes, bytes]
_STRIDE = 64  # records, about as many as a page of an LMDB has


class Records:
    """An endless walk through a database; one thread at a time may use it.

    Args:
        database: is closed with the walk.
        generator: shuffles the records again each time round; None reads them in the order of their keys. Two walks
            with equal generators go through two databases in step.
    """

    def __init__(self, database: DatabaseReader, generator: random.Random | None = None) -> None:
        self.database = database
        self._count = len(database)
        self._cursor = database.cursor() if generator is None else None
        self._numbered = None if generator is None else _Numbered(database)
        self._walk = Walk(self._numbered.count if self._numbered else 0, generator)
        self._last: bytes | None = None  # the key that was read last, where they come in order

    def first(self) -> Record:
        """The first record, left in its place."""
        (record,) = self._read(1)
        self._rewind()
        return record

    def next(self, count: int) -> list[Record]:
        """The next keys and values; after the last comes the first."""
        found = self._read(count)
        while len(found) < count:
            self._rewind()
            found += self._read(count - len(found))
        self._last = found[-1][0]
        return found

    def next_of(self, share: Share, count: int) -> list[Record]:
        """Of the next `count` rounds of records, one for each process, those of the share; the others are not read."""
        if share.size == 1:
            return self.next(count)
        found: list[Record] = []
        after = share.size - 1 - share.rank
        for left in reversed(range(count)):
            self._skip(share.rank)
            found += self.next(1)
            if left or not after:
                self._skip(after)
            else:  # the key of the last one says where the next round begins
                self._skip(after - 1)
                self.next(1)
        return found

    def _skip(self, count: int) -> None:
        while count:
            if self._cursor is not None:
                count -= self._cursor.skip(count)
            else:
                places = min(count, self._count - self._walk.at)
                self._walk.at += places
                count -= places
            if count:
                self._rewind()

    def _read(self, count: int) -> list[Record]:
        if self._cursor is not None:
            return self._cursor.read(count)
        assert self._numbered is not None and self._walk.order is not None
        numbers = self._walk.order[self._walk.at : self._walk.at + count].tolist()
        self._walk.at += len(numbers)
        return [self._numbered.record(number) for number in numbers]

    def _rewind(self) -> None:
        if self._cursor is not None:
            self._cursor.rewind()
        else:
            self._walk.begin_again()

    def state(self) -> State:
        """Where `next` goes on; a generator's state is its owner's."""
        if self._numbered is not None:
            keys = self._numbered.fingerprint
            return {"shuffle": True, "records": self._count, "keys": keys, "walk": self._walk.state()}
        last = None if self._last is None else self._last.decode("utf-8", "surrogateescape")
        return {"shuffle": False, "records": self._count, "last": last}

    def restore(self, state: State) -> list[str]:
        """Go on from such a state; in another database as near to it as can be."""
        remarks = []
        if state["records"] != self._count:
            remarks.append(f"{self.database.path} held {state['records']} records, it holds {self._count}")
        if state["shuffle"] != (self._cursor is None):
            remarks.append("records were shuffled, they are not; the first comes next" if state["shuffle"] else
                           "records were not shuffled, they are; a new order begins")  # fmt: skip
            self._rewind()
        elif self._numbered is not None:
            self._walk.restore(state["walk"])
            if state["keys"] != self._numbered.fingerprint:
                remarks.append(f"{self.database.path} has other keys; the order of this round holds for their places")
        elif self._cursor is not None:
            self._cursor.rewind()
            self._last = None if state["last"] is None else state["last"].encode("utf-8", "surrogateescape")
            if self._last is not None:
                remarks += self._go_after(self._last)
        return remarks

    def _go_after(self, key: bytes) -> list[str]:
        """To the record after that of the key, or after the place where it would be."""
        assert self._cursor is not None
        self._cursor.seek(key)
        found = self._cursor.read(1)
        if found and found[0][0] == key:
            return []
        self._cursor.seek(key)
        shown = key.decode(errors="backslashreplace")
        return [f"{self.database.path} has no record {shown!r} any more; the record after its place comes next"]

    def close(self) -> None:
        """Let go of the database."""
        if self._cursor is not None:
            self._cursor.close()
        if self._numbered is not None:
            self._numbered.close()
        self.database.close()


class _Numbered:
    """The records of a database by their numbers, without a list of all their keys where the next one is found fast.

    Attributes:
        count: of records.
        fingerprint: of all keys.
    """

    def __init__(self, database: DatabaseReader) -> None:
        self._stride = 1 if database.backend == "leveldb" else _STRIDE  # LevelDB reads the values that it goes past
        self._keys: list[bytes] = []  # of the first record of each stride
        self.count = 0
        self.fingerprint = fingerprint(self._names(database.keys()))
        self._cursor = database.cursor()

    def _names(self, keys: Iterator[bytes]) -> Iterator[str]:
        for key in keys:
            if self.count % self._stride == 0:
                self._keys.append(key)
            self.count += 1
            yield key.decode("latin-1")

    def record(self, number: int) -> Record:
        stride, after = divmod(number, self._stride)
        self._cursor.seek(self._keys[stride])
        self._cursor.skip(after)
        (record,) = self._cursor.read(1)
        return record

    def close(self) -> None:
        self._cursor.close()
