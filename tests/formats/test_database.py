"""LMDB and LevelDB with one interface."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import threading

import pytest

from caffecompat.formats import lmdb_db
from caffecompat.formats.database import DatabaseError, detect_backend, open_database

RECORDS = [(b"%08d" % index, bytes([index]) * (index + 1)) for index in range(100)]


@pytest.fixture(params=["lmdb", "leveldb"])
def backend(request):
    if request.param == "leveldb":
        pytest.importorskip("plyvel")
    return request.param


@pytest.fixture
def database(tmp_path, backend):
    path = tmp_path / "db"
    with open_database(path, backend, "w") as writer:
        writer.put(RECORDS[50:])
        writer.put(RECORDS[:50])
    with open_database(path) as reader:
        yield reader


def test_records_come_in_key_order(database, backend):
    assert database.backend == backend
    assert list(database) == RECORDS
    assert list(database.keys()) == [key for key, _ in RECORDS]
    assert len(database) == 100


def test_a_cursor_reads_skips_seeks_and_rewinds(database):
    cursor = database.cursor()
    assert cursor.read(3) == RECORDS[:3]
    assert cursor.skip(10) == 10
    assert cursor.read(2) == RECORDS[13:15]
    cursor.seek(b"00000090x")
    assert cursor.read(100) == RECORDS[91:]
    assert cursor.read(5) == []
    assert cursor.skip(1) == 0
    cursor.rewind()
    assert cursor.read(1) == RECORDS[:1]
    cursor.seek(b"9")
    assert cursor.read(1) == []
    cursor.close()


def test_reading_exactly_to_the_end_leaves_nothing(database):
    cursor = database.cursor()
    assert len(cursor.read(100)) == 100
    assert cursor.read(1) == []


def test_single_records_are_found_from_several_threads(database):
    found = []
    threads = [threading.Thread(target=lambda k=key: found.append(database.get(k))) for key, _ in RECORDS[:8]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(value for _, value in RECORDS[:8])
    assert database.get(b"nothing") is None


def test_one_database_may_be_open_twice(tmp_path, backend):
    with open_database(tmp_path / "db", backend, "w") as writer:
        writer.put(RECORDS)
    one, two = open_database(tmp_path / "db"), open_database(tmp_path / "db")
    one.close()
    assert list(two) == RECORDS
    two.close()
    one.close()


@pytest.mark.parametrize("name", ["db_raw_lmdb", "db_raw_leveldb"])
def test_reading_changes_no_file(golden, tmp_path, name):
    if "leveldb" in name:
        pytest.importorskip("plyvel")
    folder = tmp_path / "db"
    shutil.copytree(golden / "data" / name, folder)
    before = _state(folder)
    folder.chmod(0o555)
    with open_database(folder) as reader:
        assert len(list(reader)) == 10
    folder.chmod(0o755)
    assert _state(folder) == before


def _state(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_the_lmdb_map_grows_as_needed_and_the_file_is_not_sparse(tmp_path, monkeypatch):
    monkeypatch.setattr(lmdb_db, "_FIRST_MAP", 1 << 16)
    with open_database(tmp_path / "db", "lmdb", "w") as writer:
        for start in range(0, 40, 10):
            writer.put([(b"%04d" % index, bytes([index]) * 50_000) for index in range(start, start + 10)])
    with open_database(tmp_path / "db") as reader:
        assert [value[0] for _, value in reader] == list(range(40))
    size = (tmp_path / "db/data.mdb").stat().st_size
    assert 2_000_000 < size < 3_000_000


def test_appending_to_a_big_database_needs_no_second_try(tmp_path, monkeypatch):
    monkeypatch.setattr(lmdb_db, "_FIRST_MAP", 1 << 16)
    for start in (0, 20):
        with open_database(tmp_path / "db", "lmdb", "a") as writer:
            writer.put([(b"%04d" % index, bytes(50_000)) for index in range(start, start + 20)])
    with open_database(tmp_path / "db") as reader:
        assert len(reader) == 40


def test_errors_say_what_is_there_instead(tmp_path, golden):
    data = golden / "data"
    with pytest.raises(DatabaseError, match="the folder does not exist"):
        open_database(tmp_path / "nothing")
    with pytest.raises(DatabaseError, match=r"without data\.mdb"):
        open_database(tmp_path)
    with pytest.raises(DatabaseError, match="a file, not a folder"):
        open_database(data / "list.txt", "lmdb")
    with pytest.raises(DatabaseError, match=r"is a LMDB and is opened as a LevelDB.*backend: LMDB"):
        open_database(data / "db_raw_lmdb", "LEVELDB")
    with pytest.raises(DatabaseError, match="unknown database backend 'hdf5'"):
        open_database(tmp_path, "hdf5")
    (tmp_path / "new.partial").mkdir()
    with pytest.raises(DatabaseError, match=r"new\.partial is an unfinished build"):
        open_database(tmp_path / "new")


def test_a_new_database_never_overwrites(tmp_path, backend):
    open_database(tmp_path / "db", backend, "w").close()
    assert detect_backend(tmp_path / "db") == backend
    with pytest.raises(DatabaseError, match="exists already"):
        open_database(tmp_path / "db", backend, "w")


def test_a_damaged_lmdb_is_an_error_of_ours(tmp_path):
    (tmp_path / "data.mdb").write_bytes(b"garbage" * 3000)
    with pytest.raises(DatabaseError, match="cannot open the LMDB"):
        open_database(tmp_path)


def test_a_damaged_leveldb_is_an_error_of_ours(golden, tmp_path):
    pytest.importorskip("plyvel")
    shutil.copytree(golden / "data/db_raw_leveldb", tmp_path / "db")
    table = tmp_path / "db/000005.ldb"
    table.write_bytes(table.read_bytes()[:20000])
    with pytest.raises(DatabaseError, match=f"cannot .* the LevelDB {tmp_path}/db: .*{tmp_path}/db/000005.ldb"):
        list(open_database(tmp_path / "db"))


def test_a_missing_plyvel_names_the_extra(golden, monkeypatch):
    monkeypatch.delitem(sys.modules, "caffecompat.formats.leveldb_db", raising=False)
    monkeypatch.delattr("caffecompat.formats.leveldb_db", raising=False)
    monkeypatch.setitem(sys.modules, "plyvel", None)
    with pytest.raises(DatabaseError, match=r"caffecompat\[leveldb\]"):
        open_database(golden / "data/db_raw_leveldb")


def test_a_full_disk_is_said_in_plain_words(tmp_path, monkeypatch):
    with open_database(tmp_path / "db", "lmdb", "w") as writer:
        import lmdb

        def full(*args, **kwargs):
            raise lmdb.Error(f"mdb_txn_commit: {os.strerror(errno.ENOSPC)}")

        class Full:
            begin = full
            close = staticmethod(writer._environment.close)

        monkeypatch.setattr(writer, "_environment", Full())
        with pytest.raises(DatabaseError, match=r"cannot write to the LMDB .*: No space left on device$"):
            writer.put(RECORDS)


def test_mnist_as_caffe_wrote_it(shared):
    pytest.importorskip("plyvel")
    folder = shared / "real/mnist-leveldb-test"
    if not folder.is_dir():
        pytest.skip("no MNIST LevelDB here")
    from collections import Counter

    from caffecompat.formats.datum import decode_datum

    with open_database(folder, "LEVELDB") as database:
        labels = Counter(decode_datum(record).label for _, record in database)
    assert [labels[label] for label in range(10)] == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
