"""Several runs on one snapshot prefix, and what killed runs leave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from caffecompat.solver import Solver, run_lock
from caffecompat.solver.run_lock import SILENT, RunLock

_OWN = {"host": "here", "boot": "b", "namespace": "n"}


@pytest.fixture(autouse=True)
def known_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "here")
    monkeypatch.setattr(run_lock, "_machine", lambda: {"boot": "b", "namespace": "n"})


def _lock_of(folder: Path, token: str = "0123abcd", age: float = 0, **about: object) -> Path:
    path = folder / f".snap.run-{token}.lock"
    path.write_text(json.dumps({"started": "2020-01-01T00:00:00", **_OWN, **about}))
    os.utime(path, (time.time() - age,) * 2)
    return path


def _said(log: list[str]) -> bool:
    return any("another run writes to snapshot_prefix 'snap'" in line for line in log)


@pytest.mark.parametrize(
    ("about", "age", "running"),
    [
        ({"pid": os.getpid(), "process_start": run_lock._start_of(os.getpid())}, 1e6, True),
        ({"pid": os.getpid(), "process_start": "1"}, 0, False),  # the pid was given to another process
        ({"pid": 2**22 + 1, "process_start": "1"}, 0, False),
        ({"pid": os.getpid()}, 0, True),  # a system without /proc
        ({"pid": 2**22 + 1}, 0, False),
        ({"pid": 10**30}, 0, False),
        # The same pid in another container, on another machine, before the machine was started again.
        *[
            ({"pid": os.getpid(), "process_start": "1", name: "other"}, age, running)
            for name in ("namespace", "host", "boot")
            for age, running in ((SILENT - 20, True), (SILENT + 20, False))
        ],
        ({"pid": "x"}, SILENT - 20, True),
        ({"pid": "x"}, SILENT + 20, False),
    ],
)
def test_whether_another_run_goes_on(
    workdir: Path, log: list[str], about: dict[str, object], age: float, running: bool
) -> None:
    path = _lock_of(workdir, age=age, **about)
    temporary = workdir / ".snap_iter_5.caffemodel.0123abcd99999999.tmp"
    temporary.write_text("half a snapshot")
    with RunLock("snap"):
        assert path.exists() == temporary.exists() == running
    assert _said(log) == running


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", "[" * 5000, "\udc80", '{"pid": 1e999}'])
@pytest.mark.parametrize("age", [0, SILENT + 20])
def test_a_damaged_lock_goes_by_its_age(workdir: Path, log: list[str], content: str, age: float) -> None:
    path = _lock_of(workdir)
    path.write_text(content, errors="surrogateescape")
    os.utime(path, (time.time() - age,) * 2)
    with RunLock("snap"):
        assert path.exists() == (age == 0)
    assert _said(log) == (age == 0)


def test_half_a_snapshot_of_several_files_is_removed(workdir: Path, log: list[str]) -> None:
    _lock_of(workdir, age=SILENT + 20, pid="x")
    others = ["_ema_iter_5.caffemodel", "_best.solverstate.h5", "_ema_best.caffemodel"]
    for name in others:
        (workdir / f".snap{name}.0123abcdk_9xyz13.tmp").mkdir()
    folder = workdir / ".snap_iter_5.resume.0123abcdk_9xyz12.tmp"
    folder.mkdir()
    (workdir / "kept").mkdir()
    (workdir / "kept" / "file").write_text("")
    (folder / "snap_iter_5.resume").write_text("half")
    (folder / "link").symlink_to(workdir / "kept")
    with RunLock("snap"):
        assert not list(workdir.glob(".snap*.tmp")) and (workdir / "kept" / "file").exists()


def test_what_a_run_left_that_was_killed_while_it_removed_leftovers(workdir: Path, log: list[str]) -> None:
    path = _lock_of(workdir, age=SILENT + 20, pid="x")
    temporary = workdir / ".snap_iter_5.caffemodel.0123abcd99999999.tmp"
    temporary.write_text("half a snapshot")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_lock, "_remove", _killed)
        with pytest.raises(KeyboardInterrupt), RunLock("snap"):
            pass
    assert path.exists() and temporary.exists()
    with RunLock("snap"):
        assert not path.exists() and not temporary.exists()


def _killed(*_: object) -> int:
    raise KeyboardInterrupt


def test_nobody_sees_half_a_lock(workdir: Path, log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(run_lock.json, "dump", _killed)
        with pytest.raises(KeyboardInterrupt), RunLock("snap"):
            pass
    (half,) = workdir.glob(".snap.run-*")
    half = half.rename(workdir / ".snap.run-0123abce.lock.tmp")
    with RunLock("snap"):
        assert half.exists()  # its writer may be about to rename it
    os.utime(half, (1, 1))
    with RunLock("snap"):
        assert not half.exists()
    assert not _said(log)


def test_leftovers_of_others_stay(workdir: Path, log: list[str]) -> None:
    names = [".other_iter_5.caffemodel.0123abcd.tmp", ".snap_iter_5.caffemodel.tmp", ".snap.0123abcd.tmp"]
    young, old = ".snap_iter_5.caffemodel.0123abce.tmp", ".snap_iter_6.solverstate.h5.0123abce00000000.tmp"
    for name in (*names, young, old):
        (workdir / name).write_text("")
    os.utime(workdir / old, (1, 1))
    with RunLock("snap"):
        pass
    assert {path.name for path in workdir.glob(".*")} == {*names, young}


def test_the_heart_beats_and_stops(workdir: Path, log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "HEARTBEAT", 0.02)
    before = threading.active_count()
    with RunLock("snap") as lock:
        os.utime(lock.path, (1, 1))
        deadline = time.monotonic() + 10
        while os.stat(lock.path).st_mtime < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert os.stat(lock.path).st_mtime > 2
        os.unlink(lock.path)  # by a run that took this one for ended
        while not os.path.exists(lock.path) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert json.loads(Path(lock.path).read_text())["pid"] == os.getpid()
    assert not list(workdir.glob(".snap*")) and threading.active_count() == before


def test_a_lock_that_cannot_be_written_is_a_warning(workdir: Path, log: list[str]) -> None:
    solver = Solver("solver.prototxt", overrides=["snapshot=0"])
    Path(RunLock("snap").path).mkdir()
    solver.train()
    assert any("another run on snapshot_prefix 'snap' will not notice this one" in line for line in log)
    assert (workdir / "snap_iter_10.solverstate").exists()


def test_no_lock_where_nothing_is_written(workdir: Path, log: list[str]) -> None:
    solver = Solver("solver.prototxt", overrides=["snapshot=0", "snapshot_after_train=false", "snapshot_prefix=a/b"])
    solver.train()
    assert not any("will not notice" in line for line in log)


def _command(*settings: str) -> subprocess.Popen[str]:
    flags = [part for setting in settings for part in ("--set", setting)]
    line = [sys.executable, "-m", "caffecompat", "train", "--solver", "solver.prototxt", *flags]
    return subprocess.Popen(line, stderr=subprocess.PIPE, text=True)


def test_killed_and_live_runs_of_the_command(workdir: Path) -> None:
    first = _command("max_iter=1000000", "snapshot=1000000", "display=1")
    assert first.stderr is not None
    while "Iteration 3," not in first.stderr.readline():
        pass
    drain = threading.Thread(target=first.stderr.read)
    drain.start()
    try:
        second = _command("max_iter=2")
        told = second.communicate(timeout=100)[1]
        assert (
            second.returncode == 0 and f"another run writes to snapshot_prefix 'snap': process {first.pid} on" in told
        )
        assert len(list(workdir.glob(".snap.run-*.lock"))) == 1
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
        drain.join()
        first.stderr.close()
    third = _command("max_iter=2")
    assert "another run" not in third.communicate(timeout=100)[1]
    assert not list(workdir.glob(".snap*"))
