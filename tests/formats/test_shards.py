"""Several databases are read as one: in order, from any place, and only when none is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffecompat.formats.database import DatabaseError, detect_backend, open_database
from caffecompat.formats.shards import database_folders, shard_name


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(params=["lmdb", "leveldb"])
def backend(request: pytest.FixtureRequest) -> str:
    if request.param == "leveldb":
        pytest.importorskip("plyvel")
    return str(request.param)


def _write(path: str, first: int, count: int, backend: str = "lmdb", key: str = "{:08}") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open_database(path, backend, "w") as database:
        database.put([(key.format(n).encode(), b"value %d" % n) for n in range(first, first + count)])


def _values(source: str) -> list[int]:
    with open_database(source) as database:
        return [int(value.split()[1]) for _, value in database]


def _two(backend: str = "lmdb") -> None:
    for shard in range(2):
        _write(f"db/{shard_name(shard, 2)}", 3 * shard, 3, backend)


@pytest.mark.parametrize("source", ["db", "db/shard-*", "db/shard-0000[01]-of-00002", "db/shard-0000?-of-00002",
                                    "db/shard-00000-of-00002,db/shard-00001-of-00002", "d?"])  # fmt: skip
def test_two_shards_of_three_are_one_of_six(source: str, backend: str) -> None:
    _two(backend)
    _write("whole", 0, 6, backend)
    with open_database(source) as shards, open_database("whole") as whole:
        assert list(shards) == list(whole) and len(shards) == 6
        assert list(shards.keys()) == list(whole.keys()) and shards.last_key() == b"00000005"
        assert (shards.backend, shards.path) == (backend, source)
        assert [shards.get(key) for key in whole.keys()] == [value for _, value in whole]  # noqa: SIM118
        assert shards.get(b"00000006") is None and shards.get(b"") is None
        shards.check_count(6)
    assert detect_backend(source) == backend


@pytest.mark.parametrize("ordered", [True, False])
def test_a_cursor_goes_anywhere(ordered: bool, backend: str) -> None:
    _two(backend)
    source = "db" if ordered else "db/shard-00001-of-00002,db/shard-00000-of-00002"
    with open_database(source) as database:
        records = list(database)
        cursor = database.cursor()
        for at, (key, value) in enumerate(records):
            cursor.seek(key)
            assert cursor.read(2) == records[at : at + 2]
            cursor.seek(key + b"\0")
            assert cursor.read(9) == records[at + 1 :]
            assert database.get(key) == value
            cursor.rewind()
            assert cursor.skip(at) == at
            assert cursor.read(1) == [(key, value)]
        cursor.rewind()
        assert cursor.skip(9) == 6 and cursor.read(1) == []
        cursor.seek(b"\xff")
        assert cursor.read(1) == []
        cursor.seek(b"")
        assert cursor.read(9) == records
        cursor.close()


def test_keys_that_come_again_get_their_databases_number() -> None:
    for name, first in (("b", 0), ("a", 10)):
        _write(name, 0, 2, key="{:08}_x.png")
        with open_database(name, "lmdb", "a") as database:
            database.put([(b"00000000_x.png", b"value %d" % first)])
    with open_database("b,a") as database:
        assert list(database.keys()) == [
            b"00000/00000000_x.png", b"00000/00000001_x.png", b"00001/00000000_x.png", b"00001/00000001_x.png",
        ]  # fmt: skip
        assert database.get(b"00001/00000000_x.png") == b"value 10" and database.get(b"00000000_x.png") is None
    assert (_values("b,a"), _values("a,b")) == ([0, 1, 10, 1], [10, 1, 0, 1])


def test_patterns_follow_numbers_then_names() -> None:
    for number in range(12):
        _write(f"train_{number}_lmdb", number, 1)
    assert _values("train_*_lmdb") == list(range(12))
    for name, first in (("val_b", 1), ("val_a", 0)):
        _write(name, first, 1)
    Path("val_list.txt").write_text("a file is no database")
    assert _values("val_*") == [0, 1]


def test_shards_may_be_empty(backend: str) -> None:
    for shard, count in enumerate((2, 0, 1, 0)):
        _write(f"db/{shard_name(shard, 4)}", 10 * shard, count, backend)
    assert _values("db") == [0, 1, 20]
    _write("none/shard-00000-of-00001", 0, 0, backend)
    with open_database("none") as database:
        assert (len(database), list(database), database.last_key(), database.get(b"x")) == (0, [], None, None)
        assert database.cursor().read(1) == []


def test_a_path_that_is_there_keeps_its_meaning() -> None:
    _write("a,b", 0, 1)
    _write("train_[1]", 5, 1)
    _write("train_1", 6, 1)
    assert (_values("a,b"), _values("train_[1]")) == ([0], [5])
    assert database_folders("nowhere") == ["nowhere"]


def test_paths_next_to_the_prototxt(folder: Path) -> None:
    for number in (1, 2):
        _write(f"model [1]/train_{number}", number, 1)
    net = folder / "model [1]/net.prototxt"
    base = f"{folder}/model [1]"
    assert database_folders("train_*", net) == [f"{base}/train_1", f"{base}/train_2"]
    assert database_folders("train_2, train_1", net) == [f"{base}/train_2", f"{base}/train_1"]
    _write("train_1", 3, 1)
    assert database_folders("train_*", net) == ["train_1"], "the current directory comes first, as in Caffe"


def _fails(source: str) -> str:
    with pytest.raises(DatabaseError) as caught:
        open_database(source)
    return str(caught.value)


def test_what_is_missing_is_an_error() -> None:
    for shard in (0, 1, 3):
        _write(f"db/{shard_name(shard, 4)}", shard, 1)
    for source in ("db", "db/shard-*", "d*"):
        assert "shard 2 of 4 is missing (they count from 0)" in _fails(source)
    for number in (1, 2, 4):
        _write(f"train_{number}_lmdb", number, 1)
    assert _fails("train_*_lmdb") == (
        "train_*_lmdb: the numbers of the databases are 1, 2, 4: 3 missing. Where that is right, name them one by one, "
        "with commas between them"
    )
    assert _values("train_1_lmdb,train_2_lmdb,train_4_lmdb") == [1, 2, 4]
    _write("late_2", 0, 1)
    assert "the numbers of the databases are 2: 1 missing" in _fails("late_*")
    assert _fails("no_*") == "no_*: no database has such a name"
    assert _fails("train_1_lmdb,gone") == "train_1_lmdb,gone: there is no database at gone"
    assert "expected paths of databases with one comma between two" in _fails("train_1_lmdb,,train_2_lmdb")
    _write("mixed/shard-00000-of-00002", 0, 1)
    _write("mixed/shard-00000-of-00001", 0, 1)
    assert "those of several builds are mixed" in _fails("mixed")


def test_an_unfinished_or_other_database_is_an_error() -> None:
    pytest.importorskip("plyvel")
    _write("train_0", 0, 1)
    Path("train_1").mkdir()
    assert "train_1 has such a name and is no database" in _fails("train_*")
    Path("train_1").rmdir()
    _write("train_1", 1, 1, "leveldb")
    assert "some of its databases are LMDBs and some LevelDBs" in _fails("train_*")
    with pytest.raises(DatabaseError, match="train_1 is a LevelDB and is opened as a LMDB"):
        open_database("train_*", "LMDB")
