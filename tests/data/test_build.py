"""Builds that are interrupted, killed, out of disk, or find bad records."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from caffecompat.data import build as build_module
from caffecompat.data.build import BadRecord, BuildError, Plan, write_database
from caffecompat.formats.database import DatabaseError, open_database

KEYS = [b"%04d" % index for index in range(50)]


def value(index):
    return (b"value %d" % index,)


def records(path):
    with open_database(path) as database:
        return list(database)


EXPECTED = [(key, *value(index)) for index, key in enumerate(KEYS)]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(build_module, "_BATCH_RECORDS", 10)


def test_a_build_writes_all_records_and_leaves_nothing_else(tmp_path):
    steps = []
    report = write_database(tmp_path / "db", Plan(KEYS, value, "x"), threads=3, on_progress=steps.append)
    assert records(tmp_path / "db") == EXPECTED
    assert (report.written, report.bad, report.resumed_at) == (50, {}, 0)
    assert steps == [10, 20, 30, 40, 50]
    assert os.listdir(tmp_path) == ["db"]


def test_parts_and_extras(tmp_path):
    plan = Plan(
        KEYS, lambda index: (b"a%d" % index, b"b%d" % index), "x", parts=("image", "label"), extras={"n.txt": "c\n"}
    )
    write_database(tmp_path / "db", plan)
    assert records(tmp_path / "db/label")[3] == (KEYS[3], b"b3")
    assert records(tmp_path / "db/image")[3] == (KEYS[3], b"a3")
    assert (tmp_path / "db/n.txt").read_text() == "c\n"


def interrupted(stop_at, error=KeyboardInterrupt):
    made = []

    def encode(index):
        if index == stop_at:
            raise error
        made.append(index)
        return value(index)

    return encode, made


def test_ctrl_c_keeps_what_is_written_and_the_next_call_goes_on(tmp_path):
    encode, _ = interrupted(25)
    with pytest.raises(KeyboardInterrupt):
        write_database(tmp_path / "db", Plan(KEYS, encode, "x"), threads=1)
    assert os.listdir(tmp_path) == ["db.partial"]
    encode, made = interrupted(-1)
    resumed = []
    report = write_database(tmp_path / "db", Plan(KEYS, encode, "x"), threads=1, on_start=resumed.append)
    assert resumed == [20]
    assert made == list(range(20, 50))
    assert report.resumed_at == 20
    assert records(tmp_path / "db") == EXPECTED
    assert os.listdir(tmp_path) == ["db"]


@pytest.mark.parametrize("changed", ["fingerprint", "keys", "backend"])
def test_another_recipe_starts_clean(tmp_path, changed):
    if changed == "backend":
        pytest.importorskip("plyvel")
    encode, _ = interrupted(25)
    with pytest.raises(KeyboardInterrupt):
        write_database(tmp_path / "db", Plan(KEYS, encode, "x"), threads=1)
    encode, made = interrupted(-1)
    keys = [b"new" + key for key in KEYS] if changed == "keys" else KEYS
    plan = Plan(
        keys, encode, "y" if changed == "fingerprint" else "x", backend="leveldb" if changed == "backend" else "lmdb"
    )
    write_database(tmp_path / "db", plan, threads=1)
    assert made == list(range(50))
    assert [key for key, _ in records(tmp_path / "db")] == keys


def test_records_written_behind_the_journal_are_written_again(tmp_path, monkeypatch):
    """A kill between the transaction and the journal: the journal may lag, never lead."""
    saves = []

    def save(self):
        saves.append(self.done)
        if self.done == 20:
            raise KeyboardInterrupt
        return original(self)

    original = build_module._Journal.save
    monkeypatch.setattr(build_module._Journal, "save", save)
    with pytest.raises(KeyboardInterrupt):
        write_database(tmp_path / "db", Plan(KEYS, value, "x"))
    monkeypatch.setattr(build_module._Journal, "save", original)
    assert json.loads((tmp_path / "db.partial/journal.json").read_text())["done"] == 10
    write_database(tmp_path / "db", Plan(KEYS, value, "x"))
    assert records(tmp_path / "db") == EXPECTED


def test_a_damaged_journal_starts_clean(tmp_path):
    encode, _ = interrupted(25)
    with pytest.raises(KeyboardInterrupt):
        write_database(tmp_path / "db", Plan(KEYS, encode, "x"), threads=1)
    (tmp_path / "db.partial/journal.json").write_text('{"recipe"')
    encode, made = interrupted(-1)
    write_database(tmp_path / "db", Plan(KEYS, encode, "x"), threads=1)
    assert made == list(range(50))


def broken(*bad):
    def encode(index):
        if index in bad:
            raise BadRecord(f"list:{index + 1}: broken")
        return value(index)

    return encode


def test_bad_records_are_all_named_and_only_they_are_made_anew(tmp_path):
    with pytest.raises(BuildError) as caught:
        write_database(tmp_path / "db", Plan(KEYS, broken(3, 31), "x"))
    assert "2 of 50 records" in str(caught.value)
    assert "list:4: broken" in str(caught.value)
    assert "list:32: broken" in str(caught.value)
    assert not (tmp_path / "db").exists()
    encode, made = interrupted(-1)
    write_database(tmp_path / "db", Plan(KEYS, encode, "x"), threads=1)
    assert made == [3, 31]
    assert records(tmp_path / "db") == EXPECTED


def test_a_bad_record_mended_beside_one_still_bad(tmp_path):
    with pytest.raises(BuildError):
        write_database(tmp_path / "db", Plan(KEYS, broken(3, 31), "x"))
    with pytest.raises(BuildError, match="1 of 50"):
        write_database(tmp_path / "db", Plan(KEYS, broken(31), "x"))
    seen = []
    report = write_database(
        tmp_path / "db", Plan(KEYS, broken(31), "x"), skip_bad=True, on_bad=lambda *told: seen.append(told)
    )
    assert report.written == 49
    assert seen == []  # it was told of before
    assert records(tmp_path / "db") == [record for record in EXPECTED if record[0] != b"0031"]


def test_nothing_but_bad_records_is_an_error_even_when_they_are_skipped(tmp_path):
    with pytest.raises(BuildError, match="none of the 50 records"):
        write_database(tmp_path / "db", Plan(KEYS, broken(*range(50)), "x"), skip_bad=True)


def test_an_existing_database_is_never_touched(tmp_path):
    write_database(tmp_path / "db", Plan(KEYS[:3], value, "x"))
    with pytest.raises(BuildError, match="exists already"):
        write_database(tmp_path / "db", Plan(KEYS, value, "x"))
    assert len(records(tmp_path / "db")) == 3


def test_a_slash_behind_the_name_is_no_part_of_it(tmp_path):
    write_database(f"{tmp_path}/db/", Plan(KEYS[:3], value, "x"))
    assert os.listdir(tmp_path) == ["db"]


def test_an_error_in_encoding_leaves_no_trace_before_the_first_transaction(tmp_path):
    encode, _ = interrupted(2, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        write_database(tmp_path / "db", Plan(KEYS, encode, "x"), threads=1)
    assert os.listdir(tmp_path) == []


def test_where_no_folder_can_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BuildError, match=r"cannot make .*db\.partial: Not a directory"):
        write_database(tmp_path / "file/db", Plan(KEYS, value, "x"))
    with pytest.raises(BuildError, match="No such file or directory"):
        write_database(tmp_path / "none/db", Plan(KEYS, value, "x"))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(BuildError, match="Permission denied"):
        write_database(tmp_path / "db", Plan(KEYS, value, "x"))


def test_two_builds_at_once_are_refused(tmp_path):
    pytest.importorskip("fcntl")
    inside, go_on = threading.Event(), threading.Event()

    def encode(index):
        inside.set()
        assert go_on.wait(20)
        return value(index)

    first = threading.Thread(target=write_database, args=(tmp_path / "db", Plan(KEYS, encode, "x")))
    first.start()
    assert inside.wait(20)
    try:
        with pytest.raises(BuildError, match="being built by another process"):
            write_database(tmp_path / "db", Plan(KEYS, value, "x"))
    finally:
        go_on.set()
        first.join()
    assert records(tmp_path / "db") == EXPECTED


def run(tmp_path, body, wait=True):
    """A process that builds tmp_path/db of a thousand records with `body` between the imports and the build."""
    script = textwrap.dedent(
        f"""
        import resource, signal, sys, time
        from caffecompat.data import build
        from caffecompat.data.build import Plan, write_database
        from caffecompat.errors import CaffeCompatError
        build._BATCH_RECORDS = 100
        encode = lambda index: (b"%06d" % index * 500,)
        {body}
        try:
            write_database({str(tmp_path / "db")!r}, Plan([b"%06d" % i for i in range(1000)], encode, "x"), threads=2)
        except CaffeCompatError as error:
            sys.exit(str(error))
        """
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.PIPE, text=True)
    if wait:
        process.wait(60)
    return process


def done(tmp_path):
    try:
        return json.loads((tmp_path / "db.partial/journal.json").read_text())["done"]
    except (OSError, ValueError):
        return 0


def test_kill_9_in_the_middle(tmp_path):
    slow = "encode = lambda index: time.sleep(0.002) or (b'%06d' % index * 500,)"
    process = run(tmp_path, slow, wait=False)
    deadline = time.monotonic() + 30
    while done(tmp_path) < 300 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert 300 <= done(tmp_path) < 1000
    assert os.listdir(tmp_path) == ["db.partial"]
    process = run(tmp_path, "")
    assert process.returncode == 0, process.stderr.read()
    process.communicate()
    assert records(tmp_path / "db") == [(b"%06d" % index, b"%06d" % index * 500) for index in range(1000)]
    assert os.listdir(tmp_path) == ["db"]


def test_a_disk_that_fills_up(tmp_path):
    """A limit on file size stands for the disk: writing fails in the middle, and goes on when there is room."""
    pytest.importorskip("resource")
    limit = (
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))"
    )
    process = run(tmp_path, limit)
    text = process.communicate()[1]
    assert process.returncode == 1
    assert "cannot write to the LMDB" in text
    assert "Traceback" not in text
    assert 0 < done(tmp_path) < 1000
    assert not (tmp_path / "db").exists()
    process = run(tmp_path, "")
    process.communicate()
    assert process.returncode == 0
    assert len(records(tmp_path / "db")) == 1000


def test_leveldb_failures_are_ours_too(tmp_path, monkeypatch):
    pytest.importorskip("plyvel")
    with open_database(tmp_path / "db", "leveldb", "w") as writer:

        class Full:
            def write_batch(self, sync):
                raise OSError("IO error: No space left on device")

            close = staticmethod(writer._database.close)

        monkeypatch.setattr(writer, "_database", Full())
        with pytest.raises(DatabaseError, match="No space left on device"):
            writer.put([(b"a", b"b")])
