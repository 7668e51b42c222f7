"""Databases that are damaged, cut short or written to a full disk: errors that say where, and never a signal."""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

from caffecompat.data.inspection import Checks, verify_records
from caffecompat.formats import lmdb_pages
from caffecompat.formats.database import DatabaseError, open_database
from tests.data.batches import make_database, picture, source

PAGE = 4096


def write_lmdb(folder: Path, sizes: list[int], *, per_transaction: int = 100) -> list[tuple[bytes, bytes]]:
    """An LMDB with values of these sizes; its records."""
    records = [(b"%08d" % number, bytes([number % 251]) * size) for number, size in enumerate(sizes)]
    with open_database(folder, "lmdb", "w") as writer:
        for start in range(0, len(records), per_transaction):
            writer.put(records[start : start + per_transaction])
    return records


def read_all(folder: Path) -> int:
    """Records found by what `lmdb verify` does, and by looking each one up."""
    with open_database(folder) as database:
        records = list(database)
        database.check_count(len(records))
        assert list(database.keys()) == [key for key, _ in records]
        assert all(database.get(key) == value for key, value in records)
    return len(records)


def patch(folder: Path, at: int, values: bytes) -> None:
    with open(folder / "data.mdb", "r+b") as file:
        file.seek(at)
        file.write(values)


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """An LMDB of three levels, with values in leaves and in pages of their own."""
    write_lmdb(tmp_path / "db", [300, 900, 5000, 20] * 800)
    return tmp_path / "db"


@pytest.mark.parametrize("seed", range(6))
def test_records_are_those_that_liblmdb_reads(tmp_path: Path, seed: int) -> None:
    generator = random.Random(seed)
    environment = lmdb.open(str(tmp_path / "db"), map_size=1 << 28, sync=False, writemap=bool(seed % 2))
    keys = [b"%05d" % number + b"_x" * generator.randrange(60) for number in range(generator.choice((0, 1, 50, 3000)))]
    for _ in range(3):
        with environment.begin(write=True) as transaction:
            for key in generator.sample(keys, len(keys) * 2 // 3):
                transaction.put(key, generator.randbytes(generator.choice((0, 10, 700, 3000, 9000))))
        with environment.begin(write=True) as transaction:
            for key in generator.sample(keys, len(keys) // 4):
                transaction.delete(key)
    with environment.begin() as transaction:
        expected = list(transaction.cursor())
    environment.close()
    assert read_all(tmp_path / "db") == len(expected)
    with open_database(tmp_path / "db") as database:
        assert list(database) == expected
        for _ in range(30):
            wanted = b"%05d" % generator.randrange(3100) + generator.choice((b"", b"_", b"_x_x"))
            cursor = database.cursor()
            cursor.seek(wanted)
            rest = [record for record in expected if record[0] >= wanted]
            assert cursor.skip(2) == len(rest[:2])
            assert cursor.read(3) == rest[2:5]


def test_an_lmdb_cut_short_says_how_much_is_missing(deep: Path) -> None:
    data = (deep / "data.mdb").read_bytes()
    for kept in (0, 100, 4095, 4096, 8191, 8192, 9000, len(data) // 2, len(data) - PAGE, len(data) - 1):
        (deep / "data.mdb").write_bytes(data[:kept])
        with pytest.raises(DatabaseError, match=rf"data\.mdb is (empty|cut short: it has {kept} bytes and needs \d+)"):
            open_database(deep)


def test_pages_at_the_end_that_nothing_refers_to_may_be_missing(tmp_path: Path) -> None:
    # liblmdb counts pages that a transaction took and gave back, and does not write them.
    records = write_lmdb(tmp_path / "db", [20, 30])
    at = next(at for at in (0, PAGE) if struct.unpack_from("<Q", (tmp_path / "db/data.mdb").read_bytes(), at + 144)[0])
    last = struct.unpack_from("<Q", (tmp_path / "db/data.mdb").read_bytes(), at + 136)[0]
    patch(tmp_path / "db", at + 136, struct.pack("<Q", last + 3))
    assert read_all(tmp_path / "db") == len(records)


def test_each_page_of_zeros_is_found(deep: Path) -> None:
    data = (deep / "data.mdb").read_bytes()
    harmless = 0
    for page in range(0, len(data) // PAGE, 7):
        (deep / "data.mdb").write_bytes(data[: page * PAGE] + bytes(PAGE) + data[(page + 1) * PAGE :])
        try:
            assert read_all(deep) == 3200
            harmless += 1  # a page that an older transaction used
        except DatabaseError as error:
            assert "data.mdb" in str(error)
    assert harmless < len(data) // PAGE / 14


def test_damage_is_reported_with_the_record_it_comes_after(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "db", [500] * 60)
    file = lmdb_pages.LmdbFile(str(tmp_path / "db"))
    children = file.branch(file.root).children
    third, behind = children[2], file.leaf(children[1]).keys[-1].decode()
    file.close()
    data = (tmp_path / "db/data.mdb").read_bytes()
    for at, values, message in (
        (10, b"\x04\0", "is not the page of records it should be"),
        (12, b"\x11\0", "no valid table"),
        (12, b"\0\0", "no valid table"),
        (14, b"\xff\xff", "no valid table"),
        (16, b"\xfe\x0f", "leaves the page"),
        (16, b"\1\0", "not among its records"),
    ):
        (tmp_path / "db/data.mdb").write_bytes(data)
        patch(tmp_path / "db", third * PAGE + at, values)
        with open_database(tmp_path / "db") as database:
            with pytest.raises(DatabaseError, match=rf"page {third} .*{message}.*after record '{behind}'"):
                list(database)
            cursor = database.cursor()
            assert cursor.read(3)[0][0] == b"00000000"
            for _ in range(2):  # it stays an error
                with pytest.raises(DatabaseError, match="is damaged"):
                    cursor.read(60)


def test_a_page_that_is_referred_to_twice_makes_no_endless_walk(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "db", [500] * 60)
    file = lmdb_pages.LmdbFile(str(tmp_path / "db"))
    root, first = file.root, file.branch(file.root).children[0]
    file.close()
    place = struct.unpack_from("<H", (tmp_path / "db/data.mdb").read_bytes(), root * PAGE + 16 + 2 * 3)[0]
    patch(tmp_path / "db", root * PAGE + place, struct.pack("<HH", first, 0))
    with pytest.raises(DatabaseError, match=f"page {first} begins with '00000000', out of order"):
        read_all(tmp_path / "db")


@pytest.mark.parametrize(
    ("number", "pages", "message"),
    [(1 << 40, None, "is not one of the"), (0, None, "is not one of the"), (None, 1, "not in the 1 pages")],
)
def test_a_value_that_is_not_where_it_should_be_names_its_record(
    tmp_path: Path, number: int | None, pages: int | None, message: str
) -> None:
    write_lmdb(tmp_path / "db", [100, 9000, 100])
    data = (tmp_path / "db/data.mdb").read_bytes()
    record = data.rindex(b"00000001")
    (own,) = struct.unpack_from("<Q", data, record + 8)
    if number is not None:
        patch(tmp_path / "db", record + 8, struct.pack("<Q", number))
    if pages is not None:
        patch(tmp_path / "db", own * PAGE + 12, struct.pack("<I", pages))
    with pytest.raises(DatabaseError, match=rf"data\.mdb is damaged: .*{message}.*the value of record '00000001'"):
        read_all(tmp_path / "db")


def test_counts_of_the_meta_page_are_held_against_the_records(tmp_path: Path) -> None:
    make_database(tmp_path / "db", [picture(8, 8, seed=n) for n in range(10)])
    data = (tmp_path / "db/data.mdb").read_bytes()
    for at in (0, PAGE):
        if struct.unpack_from("<Q", data, at + 120)[0] == 10:
            patch(tmp_path / "db", at + 120, struct.pack("<Q", 9))
    with (
        open_database(tmp_path / "db") as database,
        pytest.raises(DatabaseError, match="counts 9 records, there are 10"),
    ):
        verify_records(database, Checks())


@pytest.mark.parametrize(
    ("at", "values", "message"),
    [
        (16, b"\0\0\0\0", "is not an LMDB file"),
        (20, b"\2\0\0\0", "version 2 of LMDB's format"),
        (40, b"\1\0\0\0", "pages of 1 bytes"),
        (10, b"\2\0", "is not an LMDB file"),
        (PAGE + 16, b"\0\0\0\0", "second page is no meta page"),
        (144, b"\x63\0\0\0", "do not belong together"),
    ],
)
def test_damaged_meta_pages_are_refused(tmp_path: Path, at: int, values: bytes, message: str) -> None:
    write_lmdb(tmp_path / "db", [100] * 5)
    patch(tmp_path / "db", at, values)
    with pytest.raises(DatabaseError, match=message):
        open_database(tmp_path / "db")


def test_opening_a_large_lmdb_reads_three_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lmdb(tmp_path / "db", [100] * 5)
    with open(tmp_path / "db/data.mdb", "r+b") as file:
        file.truncate(10 << 30)
    read = []
    pread = lmdb_pages.os.pread
    monkeypatch.setattr(lmdb_pages.os, "pread", lambda *where: read.append(where[1]) or pread(*where))
    with open_database(tmp_path / "db") as database:
        assert len(database.cursor().read(5)) == 5
    assert sum(read) <= 3 * PAGE


def test_a_data_layer_ends_with_an_error_at_the_damaged_page(tmp_path: Path) -> None:
    make_database(tmp_path / "db", [picture(10, 10, seed=n) for n in range(200)])
    file = lmdb_pages.LmdbFile(str(tmp_path / "db"))
    children = file.branch(file.root).children
    file.close()
    patch(tmp_path / "db", children[-1] * PAGE, bytes(64))
    layer = f'name: "d" type: "Data" top: "data" data_param {{ source: "{tmp_path}/db" batch_size: 50 backend: LMDB }}'
    with source(layer) as made, pytest.raises(DatabaseError, match=rf"page {children[-1]} .*after record"):
        for _ in range(4):
            made.next()


def leveldb_of(folder: Path, *, compact: bool) -> Path:
    plyvel = pytest.importorskip("plyvel")
    with open_database(folder, "leveldb", "w") as writer:
        writer.put([(b"%08d" % number, random.Random(number).randbytes(700)) for number in range(400)])
    if compact:
        database = plyvel.DB(str(folder))
        database.compact_range()
        database.close()
    return folder


@pytest.mark.parametrize("compact", [True, False])
def test_a_turned_bit_of_a_leveldb_is_never_called_sound(tmp_path: Path, compact: bool) -> None:
    folder = leveldb_of(tmp_path / "db", compact=compact)
    (file,) = [path for path in folder.glob("*.ldb" if compact else "*.log") if path.stat().st_size]
    data = file.read_bytes()
    for part in range(40):  # the first block of the first record among them
        at = len(data) * part // 40 + (20 if part == 0 else 0)
        file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(DatabaseError, match=f"{folder}"):
            read_all(folder)


@pytest.mark.parametrize("which", ["*.log", "MANIFEST-*"])
def test_a_leveldb_whose_log_is_cut_short_is_refused(tmp_path: Path, which: str) -> None:
    folder = leveldb_of(tmp_path / "db", compact=which != "*.log")
    (file,) = [path for path in folder.glob(which) if path.stat().st_size]
    data = file.read_bytes()
    for kept in (len(data) - 1, len(data) - 8, len(data) // 2):
        file.write_bytes(data[:kept])
        with pytest.raises(DatabaseError, match=f"{file.name} is cut short"):
            open_database(folder)


def test_a_leveldb_that_lost_its_log_is_not_called_sound(tmp_path: Path) -> None:
    folder = leveldb_of(tmp_path / "db", compact=False)
    (file,) = [path for path in folder.glob("*.log") if path.stat().st_size]
    size = file.stat().st_size
    file.write_bytes(b"")
    with open_database(folder) as database, pytest.raises(DatabaseError, match="holds no records"):
        verify_records(database, Checks())
    file.write_bytes(bytes(size))
    with pytest.raises(DatabaseError, match="no entry begins at byte 0"):
        open_database(folder)


@pytest.mark.parametrize("backend", ["lmdb", "leveldb"])
@pytest.mark.parametrize("size", ["8k", "64k", "300k"])
def test_a_full_disk_is_an_error_and_leaves_no_database(tmp_path: Path, backend: str, size: str) -> None:
    if backend == "leveldb":
        pytest.importorskip("plyvel")
    small = tmp_path / "small"
    small.mkdir()
    mount = f"mount -t tmpfs -o size={size} tmpfs {small}"
    if (
        not shutil.which("unshare")
        or subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True).returncode
    ):
        pytest.skip("no file systems can be mounted here")
    make_database(tmp_path / "source", [picture(60, 60, seed=n) for n in range(40)])
    command = f"{sys.executable} -m caffecompat lmdb split {tmp_path}/source {small}/train {small}/val"
    if backend == "leveldb":
        code = ("from caffecompat.formats.database import open_database; import sys; w = open_database(sys.argv[1], "
                "'leveldb', 'w'); [w.put([(b'%d' % n, b'x' * 11000)]) for n in range(40)]")  # fmt: skip
        command = f'{sys.executable} -c "{code}" {small}/train'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", f"{mount} && {command}; status=$?; ls -d {small}/train/data.mdb; exit $status"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done
    assert "No space left on device" in done.stderr
    assert "data.mdb" not in done.stdout


def test_an_older_meta_page_does_not_pass_for_the_newer_one(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "db", [9000] * 12, per_transaction=6)
    data = (tmp_path / "db/data.mdb").read_bytes()
    numbers = [struct.unpack_from("<Q", data, page + 16 + 128)[0] for page in (0, PAGE)]
    older = numbers.index(min(numbers))
    patch(tmp_path / "db", older * PAGE + 16 + 128, struct.pack("<Q", min(numbers) + 2))
    with pytest.raises(DatabaseError, match="do not belong together"):
        open_database(tmp_path / "db")


@pytest.mark.parametrize("other", ["another recipe", "cut short", "empty", "more records"])
def test_a_database_that_changes_while_it_is_read(deep: Path, tmp_path: Path, other: str) -> None:
    with open_database(deep) as database:
        cursor = database.cursor()
        assert len(cursor.read(3)) == 3
        if other == "another recipe":
            write_lmdb(tmp_path / "other", [300, 900, 5000, 21] * 900)
            (deep / "data.mdb").write_bytes((tmp_path / "other" / "data.mdb").read_bytes())
        elif other == "more records":
            with open_database(deep, "lmdb", "a") as writer:
                writer.put([(b"x", b"x")])
        else:
            os.truncate(deep / "data.mdb", PAGE * 20 if other == "cut short" else 0)
        changed = other in ("another recipe", "more records")
        with pytest.raises(DatabaseError, match="was changed while it was read" if changed else "is cut short"):
            cursor.read(4000)


def test_a_database_like_the_other_copied_over_it(deep: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The same recipe with other pictures: nothing but the time says so, and it may have been touched only."""
    with open_database(deep) as database:
        cursor = database.cursor()
        cursor.read(3)
        for _ in range(2):
            (deep / "data.mdb").write_bytes((deep / "data.mdb").read_bytes())
            assert len(cursor.read(1000)) == 1000
    assert 1 <= capfd.readouterr().err.count("data.mdb was written to while it is read") <= 2


def test_a_leveldb_whose_table_of_keys_is_damaged_finds_them_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LevelDB then says that a key is not there, which a walk through the records shows."""
    folder = leveldb_of(tmp_path / "db", compact=True)
    with open_database(folder) as database:
        records = list(database)

        class Forgetful:
            """A LevelDB that finds nothing by its table."""

            def __init__(self, whole: object) -> None:
                self._whole = whole

            def get(self, key: bytes, **settings: bool) -> None:
                return None

            def __getattr__(self, name: str) -> object:
                return getattr(self._whole, name)

        monkeypatch.setattr(database, "_database", Forgetful(database._database))  # type: ignore[attr-defined]
        assert all(database.get(key) == value for key, value in records)
        assert database.get(b"nowhere") is None and database.get(records[0][0] + b"!") is None
