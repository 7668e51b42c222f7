"""Between displays nothing asks for a value that a GPU may not have computed yet."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from caffecompat.schema import pb
from caffecompat.solver import Solver
from caffecompat.solver.lr_policy import RateState, learning_rate
from caffecompat.solver.plateau import LeastLoss
from caffecompat.solver.updater import Updater


class _Waits(TorchDispatchMode):
    """Counts what copies a value to Python: on a GPU each would wait for all that is computed before."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.count += func._schema.name in ("aten::_local_scalar_dense", "aten::is_nonzero", "aten::equal")
        return func(*args, **kwargs or {})


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("type=Adam", "momentum2=0.99"),
        ("iter_size=2", "average_loss=3"),
        ("ema_decay=0.9",),
        ("clip_gradients=0.01",),
        ("lr_policy=plateau", "gamma=0.5", "plateau_winsize=50"),
    ],
    ids=["SGD", "Adam", "iter_size", "averages", "clipped", "plateau"],
)
def test_iterations_do_not_wait(workdir: Path, settings: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    solver = Solver("solver.prototxt", overrides=["display=100", "test_interval=1000", "snapshot=0", *settings])
    solver.updater._waits = solver._least_loss._waits = False  # as on a GPU
    solver.step(1)  # the first one is displayed
    with _Waits() as waits:
        solver._iterations(4)
    assert waits.count == 0


def test_clipping_on_a_device_is_that_of_the_cpu(workdir: Path, log: list[str]) -> None:
    found = []
    for waits in (True, False):
        del log[:]
        solver = Solver("solver.prototxt", overrides=["random_seed=3", "clip_gradients=0.05", "display=2"])
        assert isinstance(solver.updater, Updater)
        solver.updater._waits = waits
        solver.step(5)
        blobs = [blob.copy() for blobs in solver.net.blobs_by_layer().values() for blob in blobs]
        found.append((blobs, [line.split("] ")[-1] for line in log if "clipping" in line]))
    assert len(found[0][1]) == 5
    assert found[0][1] == found[1][1]
    assert all((one == two).all() for one, two in zip(found[0][0], found[1][0], strict=True))


def test_a_plateau_is_the_same_however_late_losses_are_looked_at(workdir: Path) -> None:
    """Losses that fall and rise: rates and state of the two ways, iteration by iteration."""
    losses = torch.rand(200, generator=torch.Generator().manual_seed(1)).cumsum(0).sin() + torch.linspace(1, 0, 200)
    param = pb.SolverParameter(lr_policy="plateau", base_lr=1, gamma=0.5, plateau_winsize=[5, 9, 20], average_loss=4)
    rates: list[list[object]] = []
    for waits in (True, False):
        solver = Solver("solver.prototxt", overrides=["average_loss=4"])
        state = RateState()
        least = LeastLoss(param, state, solver.display, waits)
        rates.append([])
        for iteration, loss in enumerate(losses):
            solver.display.losses.append(loss)
            least.note(iteration)
            rates[-1].append(learning_rate(param, iteration, state))
        least.settle()
        rates[-1].append((state.minimum_loss, state.iter_last_event, state.current_step))
    assert rates[0] == rates[1]
    assert len(set(rates[0][:-1])) > 2
