"""Training runs that original Caffe recorded: losses, parameters, and runs resumed from its snapshots and ours."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from caffecompat.solver import Solver

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = sorted(
    str(path.parent.relative_to(GOLDEN))
    for folder in ("solvers", "solvers_jacinto")
    for path in (GOLDEN / folder).glob("*/trace.npz")
)

# Blobs that come out otherwise by a rule of ours, as a pattern of "layer/index", and why.
DECLINED = {
    "solvers_jacinto/sgd_bn": (
        r"bn\w*/[012]",
        "running statistics: Jacinto's CPU build copies them in its first two forwards and stores the variance with "
        "eps added; its GPU build, as we, moves them from the second on",
    )
}


def _close(got: object, recorded: np.ndarray) -> bool:
    """2e-4 + 2e-3 of the largest magnitude: float32 sums in another order over ten iterations."""
    got = np.asarray(got, "f8")
    return got.shape == recorded.shape and bool(np.all(np.abs(got - recorded) <= 2e-4 + 2e-3 * np.abs(recorded).max()))


class _Run:
    """A solver whose losses of every iteration are noted."""

    def __init__(self, declined: str) -> None:
        self.declined = declined
        self.solver = Solver("solver.prototxt")
        self.losses: list[list[float]] = []
        one_pass = self.solver.passes.one

        def noted():
            loss, tops = one_pass()
            self._last = [float(tops["loss"].detach()), float(tops["l2"].detach())]
            return loss, tops

        self.solver.passes.one = noted  # type: ignore[method-assign]
        self.solver.observers.append(lambda solver: self.losses.append(self._last))

    def differing(self, trace: np.lib.npyio.NpzFile, prefix: str) -> list[str]:
        blobs = self.solver.net.blobs_by_layer()
        names = [
            key
            for key in trace.files
            if key.startswith(prefix) and not re.fullmatch(self.declined, key.removeprefix(prefix))
        ]
        assert names
        parts = {key: key[len(prefix) :].rsplit("/", 1) for key in names}
        return [key for key in names if not _close(blobs[parts[key][0]][int(parts[key][1])], trace[key])]


class _Case:
    """A recorded run, its files in the current directory."""

    def __init__(self, name: str) -> None:
        self.trace = np.load("trace.npz")
        self.declined, self.why = DECLINED.get(name, ("", ""))

    def run(self) -> _Run:
        return _Run(self.declined)


@pytest.fixture
def case(request, tmp_path, golden, monkeypatch, record_property: Callable[[str, object], None]) -> _Case:
    shutil.copytree(golden / request.param, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    found = _Case(request.param)
    record_property("case of", f"recorded training runs, {request.param.split('/')[0]}")
    if found.why:
        record_property("line of", ("recorded solvers that we decline to follow", f"{request.param}: {found.why}"))
    return found


@pytest.mark.parametrize("case", CASES, indirect=True)
def test_run_equals_the_original(case):
    run = case.run()
    run.solver.net.load_weights("init.caffemodel")
    for count, prefix in ((1, "p1/"), (4, "p5/"), (5, "p10/")):
        run.solver.step(count)
        assert run.differing(case.trace, prefix) == []
    assert _close(run.losses, case.trace["loss"])


@pytest.mark.parametrize("writer", ["original", "ours"])
@pytest.mark.parametrize("case", CASES, indirect=True)
def test_resumed_run_equals_the_original(case, writer):
    if writer == "ours":
        run = case.run()
        run.solver.net.load_weights("init.caffemodel")
        for name in ("_iter_5.caffemodel", "_iter_5.solverstate"):
            os.unlink(name)
        run.solver.step(5)
        run.solver.snapshot()
    run = case.run()
    run.solver.restore("_iter_5.solverstate")
    assert run.solver.iter == 5
    run.solver.step(5)
    assert run.differing(case.trace, "resumed/") == []
    assert _close(run.losses, case.trace["resumed_loss"])
