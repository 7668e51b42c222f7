"""pycaffe's solvers: after a step the nets' blobs are those of the last pass."""

import gc
import os
import shutil
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

import caffecompat.pycaffe as caffe
from caffecompat.solver import Solver


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


@pytest.mark.parametrize("kind", ["pycaffe", "core"])
def test_a_solver_that_nobody_refers_to_is_gone_at_once(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for i in range(6):
        cv2.imwrite(f"{i}.png", np.zeros((4, 4, 3), np.uint8))
    Path("list.txt").write_text("".join(f"{i}.png 0\n" for i in range(6)))
    source = 'image_data_param { source: "list.txt" batch_size: 2 }'
    Path("net.prototxt").write_text(f"""layer {{ name: "d" type: "ImageData" top: "d" top: "l" {source} }}
layer {{ name: "ip" type: "InnerProduct" bottom: "d" top: "ip" inner_product_param {{ num_output: 2 }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "l" top: "loss" }}""")
    Path("solver.prototxt").write_text("""net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 3 display: 1
test_iter: 1 test_interval: 2 snapshot_prefix: "s" """)
    make = caffe.SGDSolver if kind == "pycaffe" else Solver
    before, open_before = threading.active_count(), len(os.listdir("/proc/self/fd"))
    gc.disable()
    try:
        for index in range(6):
            solver = make("solver.prototxt")
            if index % 2:
                solver.step(3)
            else:
                (solver.solve if isinstance(solver, caffe.SGDSolver) else solver.train)()
        del solver
        assert threading.active_count() == before
        assert len(os.listdir("/proc/self/fd")) == open_before
    finally:
        gc.enable()


def test_a_net_outlives_its_solver(folder: Path) -> None:
    solver = caffe.SGDSolver("solver.prototxt")
    face, core = solver.net, solver._solver.net
    solver.step(1)
    del solver
    assert np.isfinite(face.forward()["loss"])
    assert core.execute is not None
    del face
    assert core.execute is None
    assert np.isfinite(float(core()["loss"].detach()))
