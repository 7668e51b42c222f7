"""Solvers whose nets a script feeds through the blobs of Input layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import caffecompat.pycaffe as caffe
from caffecompat.cli.main import main

NET = """
layer { name: "in" type: "Input" top: "x" top: "y" input_param { shape { dim: 4 dim: 3 } shape { dim: 4 dim: 2 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip"
  inner_product_param { num_output: 2 bias_term: false weight_filler { type: "gaussian" std: 1 } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "y" top: "loss" }
"""
SOLVER = (
    'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" snapshot_prefix: "s" max_iter: 3 snapshot_after_train: false'
)
TESTED = " test_iter: 2 test_interval: 1"


def _solver(folder: Path, more: str = "", net: str = NET) -> caffe.SGDSolver:
    (folder / "net.prototxt").write_text(net)
    (folder / "solver.prototxt").write_text(SOLVER + more)
    return caffe.SGDSolver(str(folder / "solver.prototxt"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _fill(net: caffe.Net, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    x, y = (generator.standard_normal(net.blobs[name].shape).astype("f4") for name in ("x", "y"))
    net.blobs["x"].data[...], net.blobs["y"].data[...] = x, y
    return x, y


def _descended(weight: np.ndarray, x: np.ndarray, y: np.ndarray, steps: int) -> tuple[np.ndarray, float]:
    """The weight after that many steps on mean((x w' - y)^2) / 2, and the loss before the last one."""
    weight, loss = weight.astype("f8"), 0.0
    for _ in range(steps):
        error = x @ weight.T - y
        loss = (error**2).sum() / len(x) / 2
        weight = weight - 0.1 * error.T @ x / len(x)
    return weight, loss


@pytest.mark.parametrize("steps", [(3,), (1, 1, 1)])
def test_steps_learn_from_what_the_blobs_hold(folder: Path, steps: tuple[int, ...]) -> None:
    solver = _solver(folder)
    x, y = _fill(solver.net, 0)
    weight, loss = _descended(solver.net.params["ip"][0].data.copy(), x, y, 3)
    for count in steps:
        solver.step(count)
    np.testing.assert_allclose(solver.net.params["ip"][0].data, weight, atol=1e-5)
    assert float(solver.net.blobs["loss"].data) == pytest.approx(loss, rel=1e-4)
    assert np.array_equal(solver.net.blobs["x"].data, x) and np.array_equal(solver.net.blobs["y"].data, y)


def test_solve_and_gradients_summed_over_passes(folder: Path) -> None:
    solver = _solver(folder, " iter_size: 2 display: 1")
    x, y = _fill(solver.net, 0)
    weight, _ = _descended(solver.net.params["ip"][0].data.copy(), x, y, 3)
    solver.solve()
    assert solver.iter == 3
    np.testing.assert_allclose(solver.net.params["ip"][0].data, weight, atol=1e-5)


def test_values_written_between_iterations_count(folder: Path) -> None:
    solver = _solver(folder)
    weight = solver.net.params["ip"][0].data.copy()
    given = []
    solver.add_callback(lambda: given.append(_fill(solver.net, len(given))))
    solver.step(3)
    assert len(given) == 3
    for x, y in given:
        weight, _ = _descended(weight, x, y, 1)
    np.testing.assert_allclose(solver.net.params["ip"][0].data, weight, atol=1e-5)


def test_blobs_of_another_shape(folder: Path) -> None:
    solver = _solver(folder)
    solver.net.blobs["x"].reshape(7, 3)
    solver.net.blobs["y"].reshape(7, 2)
    x, y = _fill(solver.net, 0)
    weight, _ = _descended(solver.net.params["ip"][0].data.copy(), x, y, 2)
    solver.step(2)
    assert solver.net.blobs["ip"].shape == (7, 2)
    np.testing.assert_allclose(solver.net.params["ip"][0].data, weight, atol=1e-5)


def test_test_nets_are_fed_alike(folder: Path) -> None:
    solver = _solver(folder, TESTED)
    _fill(solver.net, 0)
    x, y = _fill(solver.test_nets[0], 1)
    before = solver.net.params["ip"][0].data.copy()
    solver.step(1)  # tested before the step
    expected = _descended(before, x, y, 1)[1]
    assert float(solver.test_nets[0].blobs["loss"].data) == pytest.approx(expected, rel=1e-4)
    assert np.array_equal(solver.test_nets[0].blobs["x"].data, x)
    solver.test_nets[0].blobs["x"].reshape(2, 3)
    solver.test_nets[0].blobs["y"].reshape(2, 2)
    x, y = _fill(solver.test_nets[0], 2)
    before = solver.net.params["ip"][0].data.copy()
    solver.step(1)
    assert float(solver.test_nets[0].blobs["loss"].data) == pytest.approx(_descended(before, x, y, 1)[1], rel=1e-4)


def test_what_was_written_stays_when_a_state_is_restored(folder: Path) -> None:
    solver = _solver(folder)
    _fill(solver.net, 0)
    solver.step(1)
    solver.snapshot()
    x, y = _fill(solver.net, 5)
    solver.restore("s_iter_1.solverstate")
    weight, _ = _descended(solver.net.params["ip"][0].data.copy(), x, y, 1)
    solver.step(1)
    np.testing.assert_allclose(solver.net.params["ip"][0].data, weight, atol=1e-5)


def test_pictures_and_a_layer_in_place(folder: Path) -> None:
    """Caffe's in-place layer changes the blob itself: a second pass reads what the first one left."""
    net = """
layer { name: "in" type: "Input" top: "x" top: "y" input_param { shape { dim: [1, 2, 4, 4] } shape { dim: 1 dim: 2 } } }
layer { name: "twice" type: "Power" bottom: "x" top: "x" power_param { scale: 2 } }
layer { name: "sum" type: "Convolution" bottom: "x" top: "sum"
  convolution_param { num_output: 2 kernel_size: 4 bias_term: false weight_filler { type: "constant" value: 1 } } }
layer { name: "flat" type: "Flatten" bottom: "sum" top: "flat" }
layer { name: "loss" type: "EuclideanLoss" bottom: "flat" bottom: "y" top: "loss" }
"""
    solver = _solver(folder, net=net)
    solver.net.blobs["x"].data[...] = 1
    solver.param.base_lr = 0
    for times in (2, 4):
        solver.step(1)
        assert (solver.net.blobs["x"].data == times).all()
        assert (solver.net.blobs["sum"].data == 32 * times).all()


def test_blobs_that_nothing_was_written_to_hold_zeros(folder: Path) -> None:
    solver = _solver(folder)
    solver.step(1)
    assert float(solver.net.blobs["loss"].data) == 0


def test_the_command_line_has_nobody_to_feed_them(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _solver(folder)
    assert main(["train", "--solver", "solver.prototxt"]) != 0
    assert "needs inputs for 'x', 'y'" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"])
def test_get_solver_gives_the_class_of_the_type(folder: Path, name: str) -> None:
    _solver(folder)
    momentum = "" if name in ("AdaGrad", "RMSProp") else " momentum: 0.9"
    (folder / "solver.prototxt").write_text(f'{SOLVER} type: "{name}"{momentum}')
    solver = caffe.get_solver(folder / "solver.prototxt")
    assert type(solver) is getattr(caffe, f"{name}Solver")
    assert isinstance(solver, caffe._caffe.Solver)
    solver.step(1)
    assert solver.iter == 1
