"""Shuffled records of a database: in the order of Python's shuffle, and no list of their keys in memory."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path

import pytest

from caffecompat.data.records import Records
from caffecompat.formats.database import open_database


def build(path: Path, backend: str, count: int, first: int = 0) -> list[tuple[bytes, bytes]]:
    records = [(b"%08d_a/name/of/a/picture.jpg" % k, b"value %d" % k) for k in range(first, first + count)]
    with open_database(path, backend, "w") as database:
        database.put(records)
    return records


@pytest.mark.parametrize("kind", ["lmdb", "leveldb", "two lmdb"])
def test_the_order_is_that_of_shuffling_a_list(tmp_path: Path, kind: str) -> None:
    wanted = build(tmp_path / "a", kind.split()[-1], 150)
    source = str(tmp_path / "a")
    if kind == "two lmdb":
        wanted += build(tmp_path / "b", "lmdb", 77, 150)
        source += f",{tmp_path}/b"
    order, generator = list(range(len(wanted))), random.Random(3)
    records = Records(open_database(source), random.Random(3))
    for _ in range(2):
        generator.shuffle(order)
        found = [record for count in (1, 64, 65) for record in records.next(count)]
        found += records.next(len(wanted) - len(found))
        assert found == [wanted[number] for number in order]
    records.close()


def test_keys_of_an_lmdb_are_not_in_memory(tmp_path: Path) -> None:
    build(tmp_path / "db", "lmdb", 20_000)
    database = open_database(tmp_path / "db")
    tracemalloc.start()
    records = Records(database, random.Random(3))
    records.next(10)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    records.close()
    assert held < 20_000 * 20  # the keys alone, as objects, are 20 000 x 70
