"""A report that follows a training."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import pytest

import caffecompat
from caffecompat import glog
from caffecompat.report import live_report as module
from tests.api_examples import write_examples

SOLVER = (
    'net: "test.prototxt" test_iter: 2 test_interval: 5 base_lr: 0.00001 lr_policy: "fixed" display: 1 snapshot: 5 '
    'snapshot_prefix: "own" random_seed: 1 solver_mode: CPU '
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_examples()
    Path("s.prototxt").write_text(SOLVER + "max_iter: 10")


def _page(folder: str = "live") -> str:
    return Path(folder, "report.html").read_text()


def test_the_page_is_there_while_the_training_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0.0)
    seen: list[str] = []

    def look(solver: caffecompat.Solver) -> None:
        if solver.iter == 6:
            deadline = time.monotonic() + 30
            while not (os.path.exists("live/report.html") and "own_iter_5" in _page()) and time.monotonic() < deadline:
                time.sleep(0.05)
                glog.info("Iteration 5, lr = 1e-05")  # news
            seen.append(_page())

    with caffecompat.live_report("live"):
        solver = caffecompat.Solver("s.prototxt")
        solver.observers.append(look)
        solver.train()
    (early,) = seen
    assert '"live":true' in early and "updated " in early and "own_iter_5.caffemodel" in early
    assert '"live":false' in _page() and "own_iter_10.caffemodel" in _page() and "data:image/png" in _page()
    log = Path("live/train.log").read_text()
    assert "Initializing solver from parameters: \n" in log and log.rstrip().endswith("Optimization Done.")
    assert caffecompat.parse_log("live/train.log").train[-1].iteration == 10


def test_resumed_runs_share_a_log_and_others_have_their_own() -> None:
    with caffecompat.live_report("live", pictures=0):
        caffecompat.Solver("s.prototxt").train()
    with caffecompat.live_report("live", resume=True, pictures=0):
        solver = caffecompat.Solver("s.prototxt", overrides=["max_iter=12"])
        solver.train("own_iter_10.solverstate")
    assert sorted(os.listdir("live")) == ["report.html", "train.log"]
    assert caffecompat.parse_log("live/train.log").runs == 2
    before = Path("live/train.log").read_bytes()
    with caffecompat.live_report("live", pictures=0):
        caffecompat.Solver("s.prototxt", overrides=["max_iter=3"]).train()
    assert sorted(os.listdir("live")) == ["report.html", "train-2.log", "train.log"]
    assert Path("live/train.log").read_bytes() == before
    assert "train: smoothed loss" in _page() and "train-2: smoothed loss" in _page()


@pytest.mark.parametrize("what", ["folder", "page", "log", "picture"])
def test_a_failure_is_one_warning_and_the_training_goes_on(
    what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object, **settings: object) -> str:
        raise OSError("no space left")

    if what == "folder":
        Path("live").write_text("a file")
    else:
        place = {"page": "run_page", "log": "os.write", "picture": "predictions_of"}[what]
        monkeypatch.setattr(f"caffecompat.report.live_report.{place}", fail)
    monkeypatch.setattr(module, "_PAUSE", 0.0)
    with caffecompat.live_report("live"):
        solver = caffecompat.Solver("s.prototxt")
        solver.train()
    assert solver.iter == 10
    warnings = capsys.readouterr().err.count("no report of this training in live: ")
    assert warnings == (what != "picture")
    if what == "picture":
        assert "no predictions: OSError: no space left" in _page()
    elif what == "log":
        assert "own_iter_10.caffemodel" in _page()  # from the lines in memory


def test_an_error_of_the_training_passes_through() -> None:
    handlers, level = list(logging.getLogger("caffecompat").handlers), logging.getLogger("caffecompat").level
    with pytest.raises(ZeroDivisionError), caffecompat.live_report("live", pictures=0):
        solver = caffecompat.Solver("s.prototxt")
        solver.observers.append(lambda s: 1 // (s.iter - 3))
        solver.train()
    assert "not finished" in _page()
    assert logging.getLogger("caffecompat").handlers == handlers and logging.getLogger("caffecompat").level == level


def test_a_page_that_hangs_does_not_hold_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    release = []
    monkeypatch.setattr(module, "_LAST", 0.2)
    monkeypatch.setattr(module, "run_page", lambda *a, **k: release.append(1) or time.sleep(3) or "late")
    begin = time.monotonic()
    with caffecompat.live_report("live", pictures=0):
        caffecompat.Solver("s.prototxt").train()
    assert release and time.monotonic() - begin < 2.9
    time.sleep(0.1)
