"""Snapshots from the middle of something, a test, an iteration, an error: the run goes on exactly all the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from caffecompat.formats.solverstate import read_solverstate
from caffecompat.net.layer import Step
from caffecompat.net.net import Blob
from caffecompat.solver import Solver
from tests.solver.recorded_runs import CHANCE, LIST, NETS, Run, data, somewhere_else


def interrupted(net: str, when: Callable[[Solver], None], then: Callable[[], None] = lambda: None) -> None:
    """A run whose snapshots `when` arranges for, ended by an error or not, and resumed from its newest one."""
    straight = Run(net, "random_seed: 3 average_loss: 4 snapshot: 0 ")
    straight.solver.train()
    straight.close()
    for path in Path().glob("s_iter*"):
        path.unlink()
    stopped = Run(net, "random_seed: 3 average_loss: 4 snapshot: 0 ")
    when(stopped.solver)
    try:
        stopped.solver.train()
    except Exception:
        then()
    stopped.close()
    state = min(Path().glob("s_iter_*.solverstate"), key=lambda path: read_solverstate(path).iter)
    iteration = read_solverstate(state).iter
    assert 0 < iteration < 12
    somewhere_else()
    resumed = Run(net, "random_seed: 3 average_loss: 4 snapshot: 0 ")
    resumed.solver.train(str(state))
    resumed.close()
    assert resumed.seen == {k: v for k, v in straight.seen.items() if k > iteration}
    assert resumed.scores == {k: v for k, v in straight.scores.items() if k >= iteration}


@pytest.mark.parametrize("batch", [0, 1, 2])
def test_a_snapshot_in_the_middle_of_a_test(run_folder: Path, batch: int) -> None:
    """SIGHUP comes while the third test runs: the run that goes on does the whole test."""

    def when(solver: Solver) -> None:
        net, calls = solver.test_nets[0], []
        read = net.read

        def watched(layer: Step) -> Sequence[Blob]:
            calls.append(1)
            if len(calls) == 7 + batch:
                solver.snapshot()
            return read(layer)

        net.read = watched  # type: ignore[method-assign]

    interrupted(NETS["tests"], when)


@pytest.mark.parametrize("place", [0, 1])
def test_a_snapshot_in_the_middle_of_an_iteration(run_folder: Path, place: int) -> None:
    """Of a callback, before the forward pass or before the update."""

    def when(solver: Solver) -> None:
        def snapshot() -> None:
            if solver.iter == 6:
                solver.snapshot()

        callbacks = [lambda: None, lambda: None]
        callbacks[place] = snapshot
        solver.callbacks.append((callbacks[0], callbacks[1]))

    interrupted(NETS["two-sources"].replace("batch_size: 3", "batch_size: 2"), when)


def test_a_snapshot_before_an_error(run_folder: Path) -> None:
    """The second of two sources fails; the one before it has been read already, and dropout has drawn."""
    net = (
        NETS["dropout"]
        + data(LIST, "shuffle: true", CHANCE).replace('"data"', '"p"').replace('"label"', '"q"').replace('"d"', '"f"')
        + 'layer { name: "unused" type: "Silence" bottom: "p" bottom: "q" }'
    )
    source = Path("5.png").resolve()

    def when(solver: Solver) -> None:
        def damage() -> None:
            if solver.iter == 3:  # beyond what is read ahead, of a list that is read round and round
                Path("5.png").unlink()
                Path("5.png").write_bytes(b"damaged")

        solver.callbacks.append((damage, lambda: None))

    def then() -> None:
        Path("5.png").unlink()
        Path("5.png").symlink_to(source)

    interrupted(net, when, then)
