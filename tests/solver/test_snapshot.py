"""Snapshots that cannot be written, and what is found in their place afterwards."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from caffecompat.errors import CaffeCompatError
from caffecompat.formats import load_caffemodel
from caffecompat.formats.atomic import WriteError
from caffecompat.solver import Solver
from caffecompat.solver.snapshot_files import newest_snapshot


def _break_folder(path: Path) -> None:
    """Put a file in the place of a folder: nothing can be written there, not even by root."""
    shutil.rmtree(path)
    path.write_text("")


def _solver_in(folder: Path, *overrides: str) -> Solver:
    folder.mkdir()
    return Solver("solver.prototxt", overrides=[f"snapshot_prefix={folder.name}/snap", *overrides])


@pytest.mark.parametrize("overrides", [["snapshot=0"], ["snapshot=5"], ["snapshot=5", "snapshot_format=HDF5"]])
def test_the_last_snapshot_goes_elsewhere(workdir: Path, log: list[str], overrides: list[str]) -> None:
    solver = _solver_in(workdir / "gone", *overrides)
    solver.observers.append(lambda s: _break_folder(workdir / "gone") if s.iter == 9 else None)
    with pytest.raises(WriteError, match=r"of iteration 10: .*Not a directory.* it is in (\S+) instead") as raised:
        solver.train()
    assert raised.value.status == 1
    assert log[-1] == "Optimization Done."  # the last test was not left out
    found = re.search(r"resume with --snapshot (\S+)", str(raised.value))
    assert found
    state = found[1]
    assert Path(state).parent.parent == workdir and Path(state).parent.name.startswith("snap_rescued_")
    resumed = Solver("solver.prototxt", overrides=["max_iter=12"])
    resumed.restore(state)
    assert resumed.iter == 10
    assert np.array_equal(resumed.net.blobs_by_layer()["ip"][0], solver.net.blobs_by_layer()["ip"][0])
    assert len(list(workdir.glob("snap_rescued_*"))) == 1


def test_elsewhere_is_the_next_place_that_can_be_written_to(
    workdir: Path, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("home", "temporary"):
        (workdir / name).mkdir()
    monkeypatch.setenv("HOME", str(workdir / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(workdir / "temporary"))
    solver = _solver_in(workdir / "gone", "snapshot=0")
    save = solver.net.save

    def only_there(path: str, **kwargs: object) -> None:
        if not path.startswith(f"{workdir}/temporary/"):
            raise WriteError(f"{path}: cannot be written: No space left on device")
        save(path, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(solver.net, "save", only_there)
    with pytest.raises(WriteError, match=f"it is in {workdir}/temporary/snap_rescued_"):
        solver.train()
    assert not list(workdir.glob("snap_rescued_*")) and not list((workdir / "home").iterdir())
    monkeypatch.setattr(solver.net, "save", lambda path, **_: only_there("nowhere"))
    solver.param.max_iter = 12
    with pytest.raises(WriteError, match="nor could it be in any other folder: the newest snapshot is of iteration 10"):
        solver.train()


@pytest.mark.parametrize("failing", [False, True])
def test_snapshots_that_are_gone_hold_nothing(workdir: Path, log: list[str], failing: bool) -> None:
    solver = _solver_in(workdir / "gone", "snapshot=5")

    def remove(s: Solver) -> None:
        shutil.rmtree(workdir / "gone")
        if failing:
            raise CaffeCompatError("a picture is damaged")

    periodic = solver.snapshots.periodic
    solver.snapshots.periodic = lambda at: (periodic(at), at == 10 and remove(solver))[0]  # type: ignore[method-assign]
    with pytest.raises(CaffeCompatError, match="a picture is damaged" if failing else r"iteration 10: .*it is in "):
        solver.train()
    assert len(list(workdir.glob("snap_rescued_*/snap_iter_10.solverstate"))) == 1


def test_the_current_folder_is_gone(workdir: Path, log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    home = workdir / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    (workdir / "work").mkdir()
    for name in ("solver.prototxt", "net.prototxt", "data.txt", "data.h5"):
        shutil.copy(name, workdir / "work")
    monkeypatch.chdir(workdir / "work")
    solver = Solver("solver.prototxt")
    solver.observers.append(lambda s: shutil.rmtree(workdir / "work") if s.iter == 7 else None)
    with pytest.raises(
        WriteError, match=f"No such file or directory; make the folder .* it is in {home}/snap_rescued_"
    ):
        solver.train()
    (state,) = home.glob("snap_rescued_*/snap_iter_10.solverstate")
    monkeypatch.chdir(workdir)
    solver.restore(str(state))
    assert solver.iter == 10


def test_an_error_and_a_full_disk(workdir: Path, log: list[str]) -> None:
    solver = _solver_in(workdir / "gone", "snapshot=0")

    def fail(s: Solver) -> None:
        if s.iter == 7:
            _break_folder(workdir / "gone")
            raise CaffeCompatError("a picture is damaged")

    solver.observers.append(fail)
    with pytest.raises(CaffeCompatError, match=r"^a picture is damaged$"):
        solver.train()
    (state,) = workdir.glob("snap_rescued_*/snap_iter_7.solverstate")
    assert any(f"The snapshot is in another folder: {state}" in line for line in log)


def test_a_snapshot_that_could_be_written_in_the_end_is_no_failure(workdir: Path, log: list[str]) -> None:
    solver = _solver_in(workdir / "full", "snapshot=5", "max_iter=5")
    blocker = workdir / "full" / "snap_iter_5.caffemodel"
    blocker.mkdir()
    after = solver.sparsifier.after_training
    solver.sparsifier.after_training = lambda at: (blocker.rmdir(), after(at))[-1]  # type: ignore[method-assign]
    solver.train()
    assert any("Snapshot failed" in line for line in log)
    assert blocker.is_file()


def test_many_failures_are_counted(workdir: Path, log: list[str]) -> None:
    solver = _solver_in(workdir / "gone", "snapshot=1")
    solver.observers.append(lambda s: _break_folder(workdir / "gone") if s.iter == 1 else None)
    with pytest.raises(WriteError) as raised:
        solver.train()
    lines = str(raised.value).splitlines()
    assert lines[:2] == ["snapshots could not be written:", "  (5 earlier ones)"] and len(lines) == 7


def _run(workdir: Path, *overrides: str) -> None:
    Solver("solver.prototxt", overrides=["snapshot=2", *overrides]).train()


@pytest.mark.parametrize("damage", ["gone", "cut", "empty", "state cut", "state empty", "other"])
@pytest.mark.parametrize("form", ["BINARYPROTO", "HDF5"])
def test_the_newest_whole_snapshot(workdir: Path, log: list[str], damage: str, form: str) -> None:
    _run(workdir, f"snapshot_format={form}")
    end = ".h5" if form == "HDF5" else ""
    weights, state = Path(f"snap_iter_10.caffemodel{end}"), Path(f"snap_iter_10.solverstate{end}")
    broken = state if damage.startswith("state") else weights
    content = broken.read_bytes()
    if damage == "gone":
        broken.unlink()
    elif damage == "other":
        broken.write_bytes(os.urandom(100))
    else:
        broken.write_bytes(content[: len(content) // 2] if "cut" in damage else b"")
    assert newest_snapshot("snap") == f"snap_iter_8.solverstate{end}"
    (said,) = [line for line in log if "--resume auto: skipped" in line]
    assert str(state) in said and str(broken) in said


def test_no_whole_snapshot_is_an_error_and_none_is_none(workdir: Path, log: list[str]) -> None:
    assert newest_snapshot("snap") is None
    _run(workdir)
    for path in workdir.glob("*.caffemodel"):
        path.unlink()
    with pytest.raises(CaffeCompatError, match=r"(?s)none of the snapshots is whole.*iter_10.*iter_2\b"):
        newest_snapshot("snap")


def test_snapshots_go_by_number_and_prefix(workdir: Path, log: list[str]) -> None:
    _run(workdir)
    _run(workdir, "snapshot_prefix=other", "max_iter=14")
    assert newest_snapshot("snap") == "snap_iter_10.solverstate"  # not _8, which sorts later, nor other_iter_14
    assert load_caffemodel("snap_iter_10.caffemodel")


def test_looking_whether_it_can_be_written_touches_nothing(workdir: Path, log: list[str]) -> None:
    for name in ("snap.tempfile", "snap", ".snap.tmp", "snap_iter_10.caffemodel"):
        (workdir / name).write_text("mine")
        os.utime(workdir / name, (1, 1))
    before = sorted(os.listdir(workdir))
    Solver("solver.prototxt", overrides=["snapshot_prefix=./snap"])
    assert sorted(os.listdir(workdir)) == before
    assert all((workdir / name).stat().st_mtime == 1 for name in before if "snap" in name)


def test_a_disk_that_is_full_at_the_start(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.open", full)
    with pytest.raises(WriteError, match=r"cannot write to '.' \(No space left on device\); free space there or name"):
        Solver("solver.prototxt", overrides=["snapshot_prefix=snap"])
