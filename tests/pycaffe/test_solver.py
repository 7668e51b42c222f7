"""pycaffe's solvers: after a step the nets' blobs are those of the last pass."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import caffecompat.pycaffe as caffe


@pytest.fixture
def folder(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    case = golden / "solvers" / "sgd_momentum"
    if not case.is_dir():
        pytest.skip("no recorded solver runs")
    shutil.copytree(case, tmp_path / "case")
    monkeypatch.chdir(tmp_path / "case")
    return tmp_path / "case"


def test_steps_leave_blobs_and_parameters_readable(folder: Path) -> None:
    record = np.load("trace.npz")
    solver = caffe.get_solver("solver.prototxt")
    solver.net.copy_from("init.caffemodel")
    for iteration in range(5):
        solver.step(1)
        assert solver.iter == iteration + 1
        assert float(solver.net.blobs["loss"].data) == pytest.approx(record["loss"][iteration][0], rel=2e-3)
    np.testing.assert_allclose(solver.net.params["conv1"][0].data, record["p5/conv1/0"], atol=2e-4)
    assert solver.net.blobs["conv1"].diff.any()


def test_class_decides_the_rule(folder: Path) -> None:
    assert caffe.get_solver("solver.prototxt")._solver.param.type == "SGD"
    assert caffe.AdamSolver("solver.prototxt")._solver.param.type == "Adam"


def test_snapshot_and_restore(folder: Path) -> None:
    solver = caffe.SGDSolver("solver.prototxt")
    solver.step(2)
    solver.snapshot()
    again = caffe.SGDSolver("solver.prototxt")
    again.restore("_iter_2.solverstate")
    assert again.iter == 2
    np.testing.assert_array_equal(again.net.params["ip"][0].data, solver.net.params["ip"][0].data)
