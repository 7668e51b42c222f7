"""What scripts written for BVLC's pycaffe count on in solvers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import caffecompat.pycaffe as caffe
from tests.pycaffe.test_net_like_bvlc import CLASSES, SMALL


@pytest.fixture
def solver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> caffe.SGDSolver:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.prototxt").write_text(SMALL)
    (tmp_path / "solver.prototxt").write_text(
        "net: 'small.prototxt' test_iter: 2 test_interval: 10 base_lr: 0.01 momentum: 0.9 weight_decay: 0.0005\n"
        "lr_policy: 'inv' gamma: 0.0001 power: 0.75 display: 100 max_iter: 20 snapshot_after_train: false\n"
        "snapshot_prefix: 'model'"
    )
    solver = caffe.SGDSolver("solver.prototxt")
    for net in (solver.net, *solver.test_nets):
        label = net.blobs["label"].data
        label[...] = np.random.randint(CLASSES, size=label.shape)
    return solver


def test_solve(solver: caffe.SGDSolver) -> None:
    assert solver.iter == 0
    labels = solver.net.blobs["label"].data.copy()
    solver.solve()
    assert solver.iter == 20
    assert (solver.net.blobs["label"].data == labels).all()
    assert type(caffe.get_solver("solver.prototxt").net) is type(solver.net)


def test_apply_update_takes_the_diffs_as_they_stand(solver: caffe.SGDSolver) -> None:
    weights = solver.net.layers[1].blobs[0]
    weights.data[...] = 0
    weights.diff[...] = 1
    solver.apply_update()
    np.testing.assert_allclose(weights.data, -0.01, atol=1e-7)
    assert solver.iter == 0


def test_diffs_after_a_step_are_the_step(solver: caffe.SGDSolver) -> None:
    bias = solver.net.params["ip"][1]
    held, before = bias.diff, bias.data.copy()
    solver.step(1)
    np.testing.assert_allclose(before - bias.data, bias.diff, atol=1e-6)
    solver.step(1)
    assert np.shares_memory(held, bias.diff)
    assert held.any()


def test_nets_outlive_the_solver(solver: caffe.SGDSolver) -> None:
    nets = [solver.net, *solver.test_nets]
    del solver
    assert len(nets) == 2
    for net in nets:
        for blob in [*net.blobs.values(), *(blob for blobs in net.params.values() for blob in blobs)]:
            assert np.isfinite(blob.data.sum() + blob.diff.sum())


def test_snapshot(solver: caffe.SGDSolver, tmp_path: Path) -> None:
    solver.snapshot()
    assert (tmp_path / "model_iter_0.caffemodel").is_file()
    assert (tmp_path / "model_iter_0.solverstate").is_file()


def test_callbacks_and_settings(solver: caffe.SGDSolver) -> None:
    seen: list[str] = []
    solver.add_callback(lambda: seen.append("start"), lambda: seen.append("gradients"))
    solver.add_callback(caffe.NCCL(solver, caffe.NCCL.new_uid()))
    solver.step(2)
    assert seen == ["start", "gradients"] * 2
    assert (solver.param.max_iter, solver.param.base_lr) == (20, pytest.approx(0.01))
    before = solver.net.params["ip"][1].data.copy()
    solver.param.base_lr = 0
    solver.param.momentum = 0
    solver.step(1)
    np.testing.assert_array_equal(solver.net.params["ip"][1].data, before)


def test_test_net_shares_the_weights(solver: caffe.SGDSolver) -> None:
    ours, theirs = solver.net.params["conv"][0], solver.test_nets[0].params["conv"][0]
    assert np.shares_memory(ours.data, theirs.data)
    alone = caffe.Net("small.prototxt", caffe.TEST)
    solver.share_weights(alone)
    assert np.shares_memory(ours.data, alone.params["conv"][0].data)
