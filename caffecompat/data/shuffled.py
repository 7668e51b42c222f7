"""A database in a new random order each time round."""

from __future__ import annotations

import random

from caffecompat.formats.database import Cursor, DatabaseReader

__all__ = ["ShuffledCursor"]


class ShuffledCursor(Cursor):
    """All records once, by chance; `rewind` shuffles anew. Two with equal generators walk two databases in step."""

    def __init__(self, database: DatabaseReader, generator: random.Random) -> None:
        self._database = database
        self._random = generator
        self._keys = list(database.keys())
        self._order = list(range(len(self._keys)))
        self.rewind()

    def read(self, count: int) -> list[tuple[bytes, bytes]]:
        keys = [self._keys[index] for index in self._order[self._at : self._at + count]]
        self._at += len(keys)
        return [(key, self._database.get(key) or b"") for key in keys]

    def skip(self, count: int) -> int:
        skipped = min(count, len(self._keys) - self._at)
        self._at += skipped
        return skipped

    def rewind(self) -> None:
        self._at = 0
        self._random.shuffle(self._order)

    def seek(self, key: bytes) -> None:
        raise NotImplementedError("there is no order to look in")

    def close(self) -> None:
        self._keys, self._order = [], []
