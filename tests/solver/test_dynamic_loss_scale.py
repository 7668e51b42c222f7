"""Loss scales that change during a run: global_grad_scale_dynamic and NVCaffe's global_grad_scale_adaptive."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Collection
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from caffecompat.formats import load_caffemodel
from caffecompat.solver import Solver
from caffecompat.solver.loss_scale import DynamicLossScale

DYNAMIC = "default_forward_type: BFLOAT16 global_grad_scale_dynamic: true\n"
GOOD, BAD = [torch.ones(2), torch.zeros(3)], [torch.ones(2), torch.tensor([1.0, math.inf])]


@pytest.mark.parametrize(
    ("updates", "expected"),
    [
        # (good updates, bad ones after them) ...: the scale then
        ([(0, 0)], 65536),
        ([(1999, 0)], 65536),
        ([(2000, 0)], 131072),
        ([(4000, 0)], 262144),
        ([(0, 1)], 32768),
        ([(0, 3)], 8192),
        ([(1999, 1)], 32768),
        ([(1999, 1), (1999, 0)], 32768),
        ([(1999, 1), (2000, 0)], 65536),
        ([(2000, 1)], 65536),
        ([(2500, 1), (1500, 0)], 65536),
        ([(2500, 1), (2000, 0)], 131072),
        ([(0, 20)], 65536 / 2**20),
        ([(0, 500)], 2.0**-126),
    ],
)
def test_the_scale_after_so_many_updates(updates: list[tuple[int, int]], expected: float) -> None:
    scale = DynamicLossScale()
    for good, bad in updates:
        assert not any(scale.overflows(GOOD, 0) for _ in range(good))
        assert all(scale.overflows(BAD, 0) for _ in range(bad))
    assert scale.value == expected


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_whatever_is_not_finite_overflows(value: float) -> None:
    assert DynamicLossScale().overflows([torch.ones(3), torch.tensor([0.0, value])], 0)
    large = torch.full((4,), 3e38)  # whose norm is not finite, but the numbers are
    assert not DynamicLossScale().overflows([large, large], 0)
    assert not DynamicLossScale().overflows([], 0)


def _solver(folder: Path, head: str, *overrides: str, more: str = "") -> Solver:
    net = folder / "net.prototxt"
    text = net.read_text()
    net.write_text(head + text.replace('bottom: "data" top: "ip"', f'bottom: "{(more and "bn") or "data"}" top: "ip"')
                   .replace('layer { name: "ip"', more + 'layer { name: "ip"'))  # fmt: skip
    solver = Solver("solver.prototxt", overrides=["test_initialization=false", "test_interval=100", *overrides])
    net.write_text(text)
    return solver


def _overflow_at(solver: Solver, iterations: Collection[int], value: float = math.inf) -> list[float]:
    """Let gradients of these iterations hold a value; returns a list of the scales before each update, to come."""
    scales: list[float] = []

    def before_update() -> None:
        scales.append(solver.loss_scale.value)
        if solver.iter in iterations:
            solver.net.params[0].blob.grad[0, 1] = value

    solver.callbacks.append((lambda: None, before_update))
    return scales


def _weights(solver: Solver) -> np.ndarray:
    return np.concatenate([blob.ravel() for blobs in solver.net.blobs_by_layer().values() for blob in blobs])


def test_a_run_with_overflows(workdir: Path, log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is skipped leaves weights, history and averages as they are; iterations and learning rates go on."""
    monkeypatch.setattr(DynamicLossScale, "INTERVAL", 3)
    rates = ["lr_policy=multistep", "stepvalue=2,3,5", "gamma=0.5", "display=1", "ema_decay=0.5", "snapshot=0"]
    solver = _solver(workdir, DYNAMIC, *rates)
    scales = _overflow_at(solver, {2, 3, 7}, math.nan)
    seen = [(_weights(solver), solver.updater.history()[0].copy(), solver.averages.state()["ip[0]"].clone())]
    solver.observers.append(
        lambda s: seen.append((_weights(s), s.updater.history()[0].copy(), s.averages.state()["ip[0]"].clone()))
    )
    solver.step(10)
    assert scales == [65536, 65536, 65536, 32768, 16384, 16384, 16384, 32768, 16384, 16384]
    still = [all(map(np.array_equal, old, new)) for old, new in itertools.pairwise(seen)]
    assert [iteration for iteration, same in enumerate(still) if same] == [2, 3, 7]
    assert solver.iter == 10
    shown = [float(line.rpartition("lr = ")[2]) for line in log if ", lr = " in line]
    assert shown == [0.1, 0.1, 0.05, 0.025, 0.025, 0.0125, 0.0125, 0.0125, 0.0125, 0.0125]
    skipped = [line for line in log if "overflow" in line]
    assert [line.partition(":")[0] for line in skipped] == ["Iteration 2", "Iteration 3", "Iteration 7"]
    assert "at loss scale 65536; the update is skipped, and the scale is now 32768" in skipped[0]
    assert not any("diverged" in line for line in log)


def test_the_updates_that_are_done_are_those_without_a_scale(workdir: Path) -> None:
    plain = _solver(workdir, "")
    plain.step(8)
    scaled = _solver(workdir, "global_grad_scale_dynamic: true\n")
    scaled.step(8)
    np.testing.assert_array_equal(_weights(scaled), _weights(plain))


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_one_overflow_skips_all_passes_of_an_iteration(workdir: Path, bad: int) -> None:
    solver = _solver(workdir, DYNAMIC, "iter_size=3")
    passes: list[int] = []
    one = solver.passes.one

    def counted() -> object:
        made = one()
        if len(passes) == bad:
            solver.net.params[0].blob.grad.fill_(-math.inf)
        passes.append(1)
        return made

    solver.passes.one = counted  # type: ignore[method-assign, assignment]
    before = _weights(solver)
    solver.step(1)
    np.testing.assert_array_equal(_weights(solver), before)
    assert (solver.iter, solver.loss_scale.value, len(passes)) == (1, 32768, 3)
    solver.step(1)
    assert not np.array_equal(_weights(solver), before)


def test_gradients_are_unscaled_before_they_are_clipped(workdir: Path, log: list[str]) -> None:
    clipped = ["clip_gradients=0.05", "display=1"]
    runs = []
    for head in ("", "global_grad_scale_dynamic: true\n"):
        solver = _solver(workdir, head, *clipped)
        solver.step(3)
        runs.append((_weights(solver), [line for line in log if "clipping" in line]))
        log.clear()
    np.testing.assert_array_equal(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]
    assert len(runs[0][1]) == 3


NORM = 'layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" }\n'


@pytest.mark.parametrize("average", [1, 4])
def test_a_batch_of_nonsense_does_not_end_a_run(workdir: Path, log: list[str], average: int) -> None:
    """Infinity in the data goes through the loss and into statistics; all that is left is one skipped update."""
    with h5py.File(workdir / "data.h5", "r+") as file:
        file["data"][5] = math.inf  # in the second batch of three
    solver = _solver(workdir, DYNAMIC, "display=1", "max_iter=9", f"average_loss={average}", more=NORM)
    solver.train()
    assert np.isfinite(_weights(solver)).all()
    assert sum("the update is skipped" in line for line in log) == 3
    assert not any("diverged" in line for line in log)
    assert all(
        np.isfinite(blob).all() for blobs in load_caffemodel("snap_iter_9.caffemodel").values() for blob in blobs
    )
    shown = [line.rpartition("loss = ")[2] for line in log if re.match(r"Iteration \d+ \(", line)]
    assert sum(loss == "nan" for loss in shown) == (3 if average == 1 else 0)


def test_skipping_for_ever_is_warned_of_once(workdir: Path, log: list[str]) -> None:
    with h5py.File(workdir / "data.h5", "r+") as file:
        file["data"][...] = math.nan
    solver = _solver(workdir, DYNAMIC, "max_iter=50", "snapshot=0", "snapshot_after_train=false", "display=10")
    solver.train()
    [line] = [line for line in log if "diverged" in line]
    assert line.startswith("Iteration 31: the last 32 updates were skipped for gradients that are not finite; training")


def test_a_resumed_run_goes_on_with_the_scale(workdir: Path, log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DynamicLossScale, "INTERVAL", 4)
    straight = _solver(workdir, DYNAMIC, "snapshot=1")
    scales = _overflow_at(straight, {1, 6})
    straight.step(10)
    for iteration in (1, 2, 5, 7):
        resumed = _solver(workdir, DYNAMIC, "snapshot=0")
        rest = _overflow_at(resumed, {1, 6})
        resumed.restore(f"snap_iter_{iteration}.solverstate")
        resumed.step(10 - iteration)
        assert rest == scales[iteration:]
        np.testing.assert_array_equal(_weights(resumed), _weights(straight))
    assert scales == [65536] * 2 + [32768] * 4 + [65536] + [32768] * 3
    assert not any(".resume: " in line and "go on" not in line for line in log)


def test_a_run_of_another_scale_says_so(workdir: Path, log: list[str]) -> None:
    _solver(workdir, DYNAMIC, "snapshot=2").step(2)
    other = _solver(workdir, "", "snapshot=0")
    other.restore("snap_iter_2.solverstate")
    assert any("loss scale: it changed in that run; in this one it does not" in line for line in log)


# ------------------------------------------------------------------------------------------------------- adaptive


@pytest.mark.parametrize(
    ("more", "divisor", "clip"),
    [
        ([], 1, math.inf),
        (["iter_size=3"], 3, math.inf),
        (["clip_gradients=0.05"], 1, 0.05),
        (["weight_decay=0.1"], 1, math.inf),
    ],
)
def test_the_adaptive_scale_is_that_of_its_formula(
    workdir: Path, log: list[str], more: list[str], divisor: int, clip: float
) -> None:
    """global_grad_scale x |g|, g what the last update took: clipped, divided by iter_size, before weight decay."""
    head = "default_forward_type: FLOAT16 global_grad_scale: 20 global_grad_scale_adaptive: true\n"
    solver = _solver(workdir, head, "display=1", *more)
    used: list[float] = []
    expected = [20.0]

    def before_update() -> None:
        used.append(solver.loss_scale.value)
        squares = sum(float((param.blob.grad.double() ** 2).sum()) for param in solver.net.params)
        expected.append(20 * min(math.sqrt(squares), clip) / divisor)

    solver.callbacks.append((lambda: None, before_update))
    solver.step(5)
    assert used == pytest.approx(expected[:5], rel=1e-5)
    shown = [float(line.rpartition("= ")[2]) for line in log if "Loss scale = " in line]
    assert shown == pytest.approx(used, rel=1e-4)


def test_the_plain_scale_while_gradients_are_zero(workdir: Path) -> None:
    head = "default_forward_type: FLOAT16 global_grad_scale: 20 global_grad_scale_adaptive: true\n"
    solver = _solver(workdir, head)
    zero = [2]
    solver.callbacks.append(
        (lambda: None, lambda: [p.blob.grad.zero_() for p in solver.net.params] if solver.iter in zero else None)
    )
    values = []
    solver.observers.append(lambda s: values.append(s.loss_scale.value))
    solver.step(4)
    assert values[2] == 20
    assert 20 not in (values[0], values[1], values[3])


def test_nan_of_a_parameter_counts_as_0(workdir: Path) -> None:
    head = "default_forward_type: FLOAT16 global_grad_scale: 20 global_grad_scale_adaptive: true\n"
    solver = _solver(workdir, head)
    weights, bias = (param.blob for param in solver.net.params)
    solver.callbacks.append((lambda: None, lambda: weights.grad.fill_(math.nan)))
    norms = []
    solver.callbacks.append((lambda: None, lambda: norms.append(float(bias.grad.norm()))))
    solver.step(1)
    assert solver.loss_scale.value == pytest.approx(20 * norms[0], rel=1e-5)


def test_a_resumed_run_goes_on_with_the_adaptive_scale(workdir: Path) -> None:
    head = "default_forward_type: FLOAT16 global_grad_scale: 20 global_grad_scale_adaptive: true\n"
    straight = _solver(workdir, head, "snapshot=3")
    scales = _overflow_at(straight, ())
    straight.step(6)
    resumed = _solver(workdir, head, "snapshot=0")
    rest = _overflow_at(resumed, ())
    resumed.restore("snap_iter_3.solverstate")
    resumed.step(3)
    assert rest == scales[3:]
    np.testing.assert_array_equal(_weights(resumed), _weights(straight))


# ---------------------------------------------------------------------------------------------- 16 bits and updates


def test_tiny_updates_do_not_vanish(workdir: Path) -> None:
    """A thousand steps of 2^-14 beside weights of 1, of which bfloat16 would keep none: it holds 8 bits."""
    solver = _solver(workdir, DYNAMIC, "base_lr=0.00006103515625", "momentum=0", "max_iter=1000", "display=0")
    weights = solver.net.params[0].blob
    with torch.no_grad():
        weights.fill_(1.0)
    assert torch.tensor(1.0).bfloat16() - 2**-14 == torch.tensor(1.0).bfloat16()
    solver.callbacks.append((lambda: None, lambda: [param.blob.grad.fill_(1.0) for param in solver.net.params]))
    solver.step(1000)
    torch.testing.assert_close(weights.detach(), torch.full_like(weights, 1 - 1000 * 2**-14))


def test_snapshots_of_nets_in_16_bits_hold_float32(workdir: Path) -> None:
    solver = _solver(workdir, DYNAMIC, "snapshot=5")
    solver.step(5)
    stored = load_caffemodel("snap_iter_5.caffemodel")["ip"]
    assert stored[0].dtype == np.float32
    np.testing.assert_array_equal(stored[0].ravel(), solver.net.blobs_by_layer()["ip"][0].ravel())
    rounded = torch.from_numpy(stored[0].copy()).bfloat16().float().numpy()
    assert not np.array_equal(stored[0], rounded)


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_amp_of_a_solver_and_its_test_nets(workdir: Path, log: list[str], amp: str) -> None:
    solver = Solver("solver.prototxt", amp=amp)  # type: ignore[arg-type]
    assert all(net.half_precision for net in (solver.net, *solver.test_nets))
    assert isinstance(solver.loss_scale, DynamicLossScale) == (amp == "fp16")
    assert any("1 of 3 layers compute in bfloat16" in line for line in log)
    solver.train()
    assert solver.iter == 10
    assert solver.smoothed_loss < 1
