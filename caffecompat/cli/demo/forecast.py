"""How long a demo will take on this machine, from a few pictures and a few iterations of both nets."""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from caffecompat.cli.demo.plan import Plan, Stage, write_network

__all__ = ["StageCost", "forecast", "inside", "is_finished", "measure_drawing", "measure_stage"]

_WARM, _STEPS, _MOST_STEPS, _SECONDS = 2, 3, 10, 2.0  # at least 3 are timed, and 10 where that takes 2 seconds


class StageCost(NamedTuple):
    """Seconds of one stage's parts."""

    build: float
    """Of the nets of a solver."""
    step: float
    """Of a training iteration."""
    picture: float
    """Of a picture in a test."""


def forecast(out: Path, plan: Plan) -> dict[str, float]:
    """Seconds that each part will take which is not finished in `out`: "drawing", and the stages by their titles."""
    parts: dict[str, float] = {}
    if is_finished(out, plan):
        return parts
    with tempfile.TemporaryDirectory(prefix="caffecompat-demo-") as folder, inside(Path(folder)):
        drawing = measure_drawing(plan)
        if not (out / "data/palette.txt").exists():
            parts["drawing"] = drawing * (plan.train + plan.val)
        write_network(Path(), plan, plan.stages())
        Path("snapshots").mkdir()  # a solver wants it, though none is written
        for stage in plan.stages():
            left = stage.iterations_left(out)
            if left or not (out / stage.scores).exists():
                parts[stage.title] = _stage_seconds(measure_stage(stage), left, plan)
    return parts


def is_finished(out: Path, plan: Plan) -> bool:
    """Whether all stages are trained and scored."""
    return all((out / stage.scores).exists() and not stage.iterations_left(out) for stage in plan.stages())


def _stage_seconds(cost: StageCost, iterations: int, plan: Plan) -> float:
    """Training with its tests, scoring, and the pictures; each of these commands builds the net again."""
    scored = plan.val * (iterations // plan.snapshot + 1)
    return 3 * cost.build + iterations * cost.step + scored * cost.picture


def measure_drawing(plan: Plan) -> float:
    """Draw a batch to train on and two pictures to test with, into ``data``; seconds a picture."""
    from caffecompat.data.streets import write_streets

    begun = time.perf_counter()
    counts = {"train": plan.batch_size, "val": 2}
    write_streets(Path("data"), counts, seed=plan.seed, width=plan.width, height=plan.height)
    return (time.perf_counter() - begun) / sum(counts.values())


def measure_stage(stage: Stage) -> StageCost:
    """Build a stage's solver, in a folder with its files and some data, and time some iterations and a test."""
    from caffecompat import glog
    from caffecompat.solver import Solver

    glog.set_min_level(2)
    try:
        begun = time.perf_counter()
        # Nothing but the iterations is to be timed: no test, display or snapshot falls due.
        settings = ["max_iter=1000000", "test_interval=1000000", "display=0", "snapshot=0", "test_iter=2"]
        solver = Solver(stage.solver, overrides=[*settings, "test_initialization=false"])
        build = time.perf_counter() - begun
        solver.step(_WARM)
        steps: list[float] = []
        while len(steps) < _STEPS or (len(steps) < _MOST_STEPS and sum(steps) < _SECONDS):
            begun = time.perf_counter()
            solver.step(1)
            steps.append(time.perf_counter() - begun)
        solver.test(0)
        begun = time.perf_counter()
        solver.test(0)
        picture = (time.perf_counter() - begun) / 2
    finally:
        glog.set_min_level(None)
    return StageCost(build, statistics.median(steps), picture)


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """With `folder` as the current directory."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
