"""Which snapshots stay: `snapshot_keep` and `snapshot_best`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffecompat.cli.main import main
from caffecompat.errors import CaffeCompatError
from caffecompat.formats import load_caffemodel
from caffecompat.formats.solverstate import read_solverstate
from caffecompat.schema import pb
from caffecompat.solver import Solver
from caffecompat.solver.retention import BestScore, Retention, check_retention
from caffecompat.solver.snapshot_files import newest_snapshot

FILES = ("caffemodel", "resume", "solverstate")


def _solver(*overrides: str) -> Solver:
    return Solver("solver.prototxt", overrides=["snapshot=2", "test_initialization=false", *overrides])


def _snapshots(folder: Path) -> dict[str, list[str]]:
    """The kinds of files that there are, by what comes before their dot."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.glob("snap_*")):
        name, _, kind = path.name.partition(".")
        found.setdefault(name, []).append(kind)
    return found


@pytest.mark.parametrize(("suffix", "more"), [("", []), (".h5", ["snapshot_format=HDF5"])])
def test_the_newest_stay_with_all_their_files(workdir: Path, log: list[str], suffix: str, more: list[str]) -> None:
    _solver("snapshot_keep=2", *more).train()
    kinds = [f"caffemodel{suffix}", "resume", f"solverstate{suffix}"]
    assert _snapshots(workdir) == {"snap_iter_8": kinds, "snap_iter_10": kinds}
    assert [line for line in log if line.startswith("Removed")] == [
        f"Removed the snapshot of iteration {iteration} (snapshot_keep: 2)" for iteration in (2, 4, 6)
    ]


def test_an_old_one_goes_only_when_the_new_one_is_whole(
    workdir: Path, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    solver = _solver("snapshot_keep=1")
    solver.step(2)

    def full(*_: Any, **__: Any) -> None:
        assert (workdir / "snap_iter_2.solverstate").exists()
        raise CaffeCompatError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(solver.net, "save", full)
        solver.step(2)
    assert list(_snapshots(workdir)) == ["snap_iter_2"]
    solver.step(2)
    assert list(_snapshots(workdir)) == ["snap_iter_6"]


def test_other_files_of_the_prefix_are_let_alone(workdir: Path, log: list[str]) -> None:
    _solver("max_iter=4").train()
    _solver("snapshot_keep=1", "snapshot=3").train()
    assert list(_snapshots(workdir)) == ["snap_iter_10", "snap_iter_2", "snap_iter_4"]


def test_a_resumed_run_removes_what_the_run_before_wrote(workdir: Path, log: list[str]) -> None:
    _solver("snapshot_keep=3", "max_iter=6").train()
    assert main(["train", "--solver", "solver.prototxt", "--resume", "auto", "--set", "snapshot=2", "--set",
                 "snapshot_keep=3", "--set", "test_initialization=false"]) == 0  # fmt: skip
    assert sorted(_snapshots(workdir)) == ["snap_iter_10", "snap_iter_6", "snap_iter_8"]
    found = newest_snapshot("snap")
    assert found is not None and found.endswith("snap_iter_10.solverstate")


def test_a_resumed_run_removes_what_the_run_before_was_killed_over(
    workdir: Path, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: str) -> None:
        if path.endswith("snap_iter_2.resume"):
            raise KeyboardInterrupt
        unlink(path)

    unlink = os.unlink
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            _solver("snapshot_keep=2").train()
    assert _snapshots(workdir)["snap_iter_2"] == ["caffemodel", "resume"]
    _solver("snapshot_keep=2", "max_iter=6").train("snap_iter_6.solverstate")
    assert list(_snapshots(workdir)) == ["snap_iter_4", "snap_iter_6"]


@pytest.mark.parametrize("where", ["copy", "other prefix"])
def test_a_run_that_goes_on_elsewhere_removes_nothing_of_the_first(workdir: Path, log: list[str], where: str) -> None:
    _solver("snapshot_keep=2", "snapshot_best=max:accuracy", "max_iter=6").train()
    before = _snapshots(workdir)
    (workdir / "b").mkdir()
    state = "snap_iter_6.solverstate"
    if where == "copy":
        for kind in FILES:
            shutil.copy(f"snap_iter_6.{kind}", "b")
        state = f"b/{state}"
    solver = _solver("snapshot_keep=1", "snapshot_best=max:accuracy", "snapshot_prefix=b/snap")
    solver.restore(state)
    solver.train()
    assert _snapshots(workdir) == before
    assert set(_snapshots(workdir / "b")) == {"snap_iter_10", "snap_best"}  # its first test is the best it has


@pytest.mark.parametrize(
    ("best", "scores", "iteration"),
    [
        ("max:accuracy", {2: 0.5, 4: 0.8, 6: 0.7, 8: 0.8, 10: 0.1}, 4),  # the first of two equal ones
        ("min:loss", {2: 3.0, 4: 2.0, 6: float("nan"), 8: 1.0, 10: 1.5}, 8),
        ("max:0:accuracy", {2: -3.0, 4: -2.0, 6: -5.0, 8: -4.0, 10: -2.5}, 4),
    ],
)
def test_the_best_stays_whatever_is_removed(
    workdir: Path, log: list[str], best: str, scores: dict[int, float], iteration: int
) -> None:
    solver = _solver(f"snapshot_best={best}", "snapshot_keep=1", "test_interval=2")
    name = best.rpartition(":")[2]
    weights: dict[int, np.ndarray] = {}

    def test(index: int) -> dict[str, list[float]]:
        weights[solver.iter] = solver.net.blobs_by_layer()["ip"][0].copy()
        return {name: [scores[solver.iter]]}

    solver.test = test  # type: ignore[method-assign, assignment]
    solver.train()
    assert _snapshots(workdir) == {"snap_best": [*FILES], "snap_iter_10": [*FILES]}
    state = read_solverstate("snap_best.solverstate")
    assert (state.iter, os.path.basename(state.learned_net)) == (iteration, "snap_best.caffemodel")
    stored = load_caffemodel("snap_best.caffemodel")["ip"][0]
    np.testing.assert_array_equal(stored, weights[iteration])
    found = newest_snapshot("snap")
    assert found is not None and found.endswith("snap_iter_10.solverstate")


def test_the_best_score_is_known_to_a_resumed_run(workdir: Path, log: list[str]) -> None:
    def run(scores: dict[int, float], resume: str | None, stop: int) -> None:
        solver = _solver("snapshot_best=max:accuracy", "test_interval=2", f"max_iter={stop}")
        solver.test = lambda index: {"accuracy": [scores[solver.iter]]}  # type: ignore[method-assign, assignment]
        solver.train(resume)

    run({2: 0.5, 4: 0.9, 6: 0.6}, None, 6)
    run({6: 0.6, 8: 0.8, 10: 0.7}, "snap_iter_6.solverstate", 10)
    assert read_solverstate("snap_best.solverstate").iter == 4
    run({10: 0.7, 12: 0.95}, "snap_iter_10.solverstate", 12)
    assert read_solverstate("snap_best.solverstate").iter == 12


@pytest.mark.parametrize(("missing", "best"), [("snap_iter_6.resume", 4), ("snap_*.resume", 10)])
def test_without_its_resume_file_a_run_asks_the_best_snapshot(
    workdir: Path, log: list[str], missing: str, best: int
) -> None:
    def run(scores: dict[int, float], resume: str | None, stop: int) -> None:
        solver = _solver("snapshot_best=max:accuracy", "test_interval=2", f"max_iter={stop}")
        solver.test = lambda index: {"accuracy": [scores[solver.iter]]}  # type: ignore[method-assign, assignment]
        solver.train(resume)

    run({2: 0.5, 4: 0.9, 6: 0.6}, None, 6)
    for path in workdir.glob(missing):
        path.unlink()
    log.clear()
    run({6: 0.6, 8: 0.7, 10: 0.8}, "snap_iter_6.solverstate", 10)
    assert read_solverstate("snap_best.solverstate").iter == best
    said = "\n".join(log)
    if best == 4:
        assert "the best max:accuracy so far is 0.9, as" in said
    else:
        assert "snap_best.resume does not say the best max:accuracy: the next test will replace it" in said


def test_a_run_goes_on_from_the_best(workdir: Path, log: list[str]) -> None:
    whole = _solver("snapshot_best=min:loss")
    whole.train()
    at = read_solverstate("snap_best.solverstate").iter
    assert at in (5, 10)
    resumed = _solver("snapshot_best=min:loss", f"max_iter={at + 2}")
    resumed.train("snap_best.solverstate")
    straight = _solver(f"max_iter={at + 2}", "snapshot_prefix=other")
    straight.train()
    np.testing.assert_array_equal(resumed.net.blobs_by_layer()["ip"][0], straight.net.blobs_by_layer()["ip"][0])


def test_of_several_values_the_mean_counts() -> None:
    retention = Retention(pb.SolverParameter(snapshot_best="max:iou"))
    assert retention.better(0, {"iou": [0.2, 0.6]}) == pytest.approx(0.4)
    assert retention.better(1, {"iou": [0.9]}) is None
    retention.score = 0.5
    assert retention.better(0, {"iou": [0.2, 0.6]}) is None
    assert not BestScore(True, 0, "iou").beats(float("nan"), None)


@pytest.mark.parametrize("text", ["accuracy", "best:accuracy", "max:", "max", "MAX:a"])
def test_another_form_is_an_error_with_its_place(workdir: Path, log: list[str], text: str) -> None:
    assert check_retention(pb.SolverParameter(snapshot_best=text))
    solver = workdir / "solver.prototxt"
    solver.write_text(solver.read_text() + f'snapshot_best: "{text}"')
    with pytest.raises(CaffeCompatError, match=r"solver.prototxt:4:1: snapshot_best .*expected max:OUTPUT"):
        Solver("solver.prototxt")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["snapshot_best=max:acuracy"],
            "=max:acuracy: snapshot_best: test net 0 has no output 'acuracy'; did you mean accuracy?",
        ),
        (["snapshot_best=max:2:accuracy"], ": snapshot_best: there is no test net 2; the solver has 1"),
        (["snapshot_keep=-1"], "--set snapshot_keep=-1: snapshot_keep must be at least 0"),
    ],
)
def test_what_cannot_be_kept(workdir: Path, log: list[str], settings: list[str], message: str) -> None:
    with pytest.raises(CaffeCompatError) as raised:
        Solver("solver.prototxt", overrides=settings)
    assert message in str(raised.value)


def test_best_needs_tests() -> None:
    assert "needs tests" in check_retention(pb.SolverParameter(snapshot_best="max:accuracy"))[0]
