"""NVCaffe's and Jacinto's schedules, floors and sparse training against its recorded runs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from caffecompat.schema import pb
from caffecompat.solver import Solver, jacinto
from caffecompat.solver.lr_policy import RateState, learning_rate

GOLDEN = Path(__file__).parents[1] / "golden"
SPARSE = sorted(path.parent.name for path in (GOLDEN / "train_jacinto").glob("*/trace.npz"))


def _statistics(key: str) -> bool:
    """Running statistics: Jacinto's CPU build copies them twice and stores the variance with eps added."""
    return re.search(r"/bn\w+/[012]$", key) is not None


@pytest.mark.parametrize("name", SPARSE)
def test_training_equals_the_original(name, tmp_path, monkeypatch, log):
    shutil.copytree(GOLDEN / "train_jacinto" / name, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    trace = np.load("trace.npz")
    solver = Solver("solver.prototxt")
    solver.load_weights("init.caffemodel")
    # A snapshot due at max_iter comes before the last thinning; the one after training includes it.
    blobs: dict[int, dict[str, list[np.ndarray]]] = {}
    save = solver.net.save

    def noted(path, **kwargs):
        blobs[solver.iter] = {name: [b.copy() for b in layer] for name, layer in solver.net.blobs_by_layer().items()}
        save(path, **kwargs)

    monkeypatch.setattr(solver.net, "save", noted)
    solver.train()
    losses = [float(x) for x in re.findall(r"Iteration \d+ \(.*loss = (\S+)", "\n".join(log))]
    assert np.abs(np.array(losses) - trace["loss"]).max() < 2e-3 * trace["loss"].max()
    for key in trace.files:
        match = re.match(r"p(\d+)/(.+)/(\d+)$", key)
        if match and not _statistics(key):
            got = blobs[int(match[1])][match[2]][int(match[3])]
            assert np.abs(got - trace[key]).max() <= 2e-4 + 2e-3 * np.abs(trace[key]).max(), key
            if match[2].startswith("conv") and match[3] == "0":
                assert np.array_equal(got == 0, trace[key] == 0), key


@pytest.mark.parametrize("name", [name for name in SPARSE if "sparse" in name])
def test_sparsity_is_logged_as_by_the_original(name, tmp_path, monkeypatch, log):
    shutil.copytree(GOLDEN / "train_jacinto" / name, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    solver = Solver("solver.prototxt")
    solver.load_weights("init.caffemodel")
    solver.train()
    recorded = [line.rstrip() for line in Path("sparsity.txt").read_text().splitlines()]
    kinds = r"All zero|Sparsity |Num Params|\w+_param_0|Total Sparsity|Finding and|\w+ ni=|\w+ ZeroWeights"
    assert [line.rstrip() for line in log if re.match(kinds, line)] == recorded


def test_ramp_bypasses_the_policy_and_min_lr_is_a_floor():
    param = pb.SolverParameter(
        base_lr=1, lr_policy="multistep", gamma=0.1, stepvalue=[1, 5], rampup_interval=4, rampup_lr=0.2, min_lr=0.05
    )
    state = RateState()
    rates = [learning_rate(param, iteration, state) for iteration in range(7)]
    assert rates == pytest.approx([0.2, 0.25, 0.4, 0.65, 0.1, 0.05, 0.05])


@pytest.mark.parametrize(
    ("fields", "iteration", "rate", "expected"),
    [
        ({"momentum": 0.9}, 5, 0.1, 0.9),
        (
            {"momentum": 0.5, "momentum_policy": "poly", "max_momentum": 0.9, "momentum_power": 2.0, "max_iter": 10},
            5,
            1,
            0.6,
        ),
        ({"momentum_policy": "opt"}, 0, 0.04, 0.81),
        ({"momentum_policy": "opt", "max_momentum": 0.5}, 0, 0.04, 0.5),
    ],
)
def test_momentum_policies(fields, iteration, rate, expected):
    assert jacinto.momentum(pb.SolverParameter(**fields), iteration, rate) == pytest.approx(expected)


def test_unknown_policies_are_named_together():
    param = pb.SolverParameter(momentum_policy="cubic", larc=True, larc_policy="trim", type="Adam")
    problems = jacinto.check_schedules(param)
    assert len(problems) == 3
    assert "'cubic' is not one of fixed, poly, opt" in problems[0]


def test_local_lr_auto_is_nvcaffes_formula() -> None:
    generator = np.random.default_rng(3)
    weights = [generator.standard_normal((3, 4)), generator.standard_normal(4), np.zeros(2), np.ones(2)]
    grads = [generator.standard_normal((3, 4)), generator.standard_normal(4), np.ones(2), np.zeros(2)]
    param = pb.SolverParameter(local_lr_auto=True, local_gw_ratio=0.02, weight_decay=0.3, base_lr=1)
    found = jacinto.auto_rates(param, 0.5, *([torch.tensor(x) for x in each] for each in (weights, grads)))
    for rate, w, g in zip(found[:2], weights, grads, strict=False):
        assert float(rate) == pytest.approx(
            0.5 * 0.02 * np.linalg.norm(w) / (np.linalg.norm(g) + 0.3 * np.linalg.norm(w))
        )
    assert [float(rate) for rate in found[2:]] == [0.5, 0.5]


def test_local_lr_auto_replaces_lr_mult(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text("""
layer { name: "d" type: "DummyData" top: "d" dummy_data_param { shape { dim: 2 dim: 3 }
  data_filler { type: "constant" value: 1 } } }
layer { name: "ip" type: "InnerProduct" bottom: "d" top: "ip" param { lr_mult: 7 decay_mult: 0 }
  inner_product_param { num_output: 1 bias_term: false weight_filler { type: "constant" value: 2 } } }
layer { name: "loss" type: "Reduction" bottom: "ip" top: "loss" loss_weight: 1 }
""")
    Path("solver.prototxt").write_text(
        "net: 'net.prototxt' base_lr: 0.5 lr_policy: 'fixed' weight_decay: 0.1 local_lr_auto: true local_gw_ratio: 0.2 "
        "max_iter: 1 snapshot_after_train: false"
    )
    solver = Solver("solver.prototxt")
    solver.train()
    w, g = np.full(3, 2.0), np.full(3, 2.0)
    rate = 0.5 * 0.2 * np.linalg.norm(w) / (np.linalg.norm(g) + 0.1 * np.linalg.norm(w))
    np.testing.assert_allclose(solver.net.blobs_by_layer()["ip"][0].reshape(-1), w - rate * g, rtol=1e-6)


def test_layer_wise_rates_are_for_sgd() -> None:
    assert jacinto.check_schedules(pb.SolverParameter(local_lr_auto=True, type="Adam"))
    assert jacinto.check_schedules(pb.SolverParameter(local_lr_auto=True, larc=True, type="SGD"))
    assert jacinto.check_schedules(pb.SolverParameter(local_lr_auto=True, type="SGD")) == []
