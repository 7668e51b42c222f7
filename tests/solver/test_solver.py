"""The loop: what it logs, when it tests and snapshots, how it stops, what it refuses."""

from __future__ import annotations

import copy
import glob
import os
import re
import signal

import numpy as np
import pytest
from torch import nn

from caffecompat.errors import CaffeCompatError
from caffecompat.formats import open_caffemodel
from caffecompat.formats.atomic import WriteError
from caffecompat.solver import Solver
from caffecompat.solver.signals import SignalActions
from caffecompat.solver.snapshot_files import newest_snapshot


def test_training_logs_caffes_lines_in_order(workdir, log):
    Solver("solver.prototxt").train()
    lines = [line for line in log if re.match(r"(Iteration|Snapshotting|Optimization|Solving|    T)", line)]
    shape = [re.sub(r"-?\d+(\.\d+)?(e-?\d+)?", "N", line) for line in lines]
    output = "    Train net output #N: loss = N (* N = N loss)"
    test = ["    Test net output #N: accuracy = N", "    Test net output #N: loss = N (* N = N loss)"]
    shown = ["Iteration N (N iter/s, Ns/N iters), loss = N", output, "Iteration N, lr = N"]
    snap = [
        "Snapshotting to binary proto file snap_iter_N.caffemodel",
        "Snapshotting solver state to binary proto file snap_iter_N.solverstate",
    ]
    tested = ["Iteration N, Testing net (#N)", *test]
    end = ["Iteration N, loss = N", *tested, "Optimization Done."]
    assert shape == ["Solving small", *tested, *shown, *snap, *tested, *shown, *snap, *end]


def test_loss_goes_down_and_the_test_net_shares_the_weights(workdir, log):
    solver = Solver("solver.prototxt", overrides=["max_iter=60", "display=0", "snapshot=0"])
    before = solver.test(0)
    solver.train()
    after = solver.test(0)
    assert after["loss"][0] < 0.5 * before["loss"][0]
    assert after["accuracy"][0] == 1


def test_a_seeded_run_repeats_exactly(workdir, log):
    weights = []
    for _ in range(2):
        solver = Solver("solver.prototxt")
        solver.step(7)
        weights.append(solver.net.blobs_by_layer()["ip"][0])
    assert np.array_equal(*weights)


def test_stopping_in_the_middle_loses_nothing(workdir, log):
    whole = Solver("solver.prototxt", overrides=["snapshot_prefix=whole"])
    whole.step(10)
    stopped = Solver("solver.prototxt")
    stopped.observers.append(lambda s: os.kill(os.getpid(), signal.SIGINT) if s.iter == 7 else None)
    stopped.train()
    assert stopped.iter == 7
    assert log[-1] == "Optimization stopped early."
    resumed = Solver("solver.prototxt")
    for _ in range(7):  # the data source starts again in a new process; bring it to where the run stopped
        resumed.net.next_batch()
    resumed.restore(newest_snapshot("snap"))
    resumed.step(3)
    assert np.array_equal(resumed.net.blobs_by_layer()["ip"][0], whole.net.blobs_by_layer()["ip"][0])


def test_sigterm_is_like_sigint_but_for_the_second(workdir, log):
    solver = Solver("solver.prototxt", overrides=["snapshot=0"])
    solver.observers.append(lambda s: [os.kill(os.getpid(), signal.SIGTERM) for _ in range(2)] if s.iter == 7 else None)
    before = signal.getsignal(signal.SIGTERM)
    solver.train()
    assert solver.iter == 7
    assert os.path.exists("snap_iter_7.solverstate")
    assert signal.getsignal(signal.SIGTERM) is before
    solver.train()  # what was asked of one run is not asked of the next
    assert solver.iter == 10


@pytest.mark.parametrize(("effect", "files"), [("none", ["10", "5"]), ("snapshot", ["10", "5", "7"])])
def test_sigterm_effect(workdir, log, effect, files):
    solver = Solver("solver.prototxt")
    solver.signals = SignalActions(sigterm=effect)
    solver.observers.append(lambda s: os.kill(os.getpid(), signal.SIGTERM) if s.iter == 7 else None)
    solver.train()
    assert sorted(name.split("_iter_")[1].split(".")[0] for name in glob.glob("*.solverstate")) == files


def test_sighup_writes_a_snapshot_and_goes_on(workdir, log):
    solver = Solver("solver.prototxt")
    solver.observers.append(lambda s: os.kill(os.getpid(), signal.SIGHUP) if s.iter == 3 else None)
    solver.train()
    assert os.path.exists("snap_iter_3.solverstate")
    assert solver.iter == 10


def test_signal_handlers_are_put_back(workdir, log):
    before = signal.getsignal(signal.SIGINT)
    Solver("solver.prototxt").train()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_failing_snapshot_does_not_end_the_training(workdir, log, monkeypatch):
    solver = Solver("solver.prototxt")
    save, calls = solver.net.save, []

    def failing(path, **kwargs):
        calls.append(os.path.basename(path))
        if len(calls) == 1:
            raise CaffeCompatError("no space left on device")
        save(path, **kwargs)

    monkeypatch.setattr(solver.net, "save", failing)
    with pytest.raises(WriteError, match="of iteration 5: no space left"):
        solver.train()
    assert calls == ["snap_iter_5.caffemodel", "snap_iter_10.caffemodel"]
    assert any("Snapshot failed: no space left" in line for line in log)
    assert os.path.exists("snap_iter_10.solverstate")


def test_snapshot_diff_stores_the_step(workdir, log):
    solver = Solver("solver.prototxt", overrides=["snapshot_diff=true"])
    solver.step(5)
    before = open_caffemodel("snap_iter_5.caffemodel")
    layer = next(layer for layer in before.layers if layer.name == "ip")
    # SGD's step is its history.
    assert np.array_equal(layer.blobs[0].diff(), solver.updater.history()[0])


def test_hdf5_snapshots_resume(workdir, log):
    solver = Solver("solver.prototxt", overrides=["snapshot_format=HDF5"])
    solver.step(5)
    resumed = Solver("solver.prototxt")
    resumed.restore("snap_iter_5.solverstate.h5")
    assert resumed.iter == 5
    assert np.array_equal(resumed.net.blobs_by_layer()["ip"][0], solver.net.blobs_by_layer()["ip"][0])
    assert np.array_equal(resumed.updater.history()[0], solver.updater.history()[0])


def test_unwritable_folder_is_found_before_training(workdir, log):
    with pytest.raises(CaffeCompatError, match=r"folder 'missing' does not exist.*mkdir -p missing"):
        Solver("solver.prototxt", overrides=["snapshot_prefix=missing/snap"])


def test_state_of_another_solver_type_is_refused(workdir, log):
    Solver("solver.prototxt").step(5)
    adam = Solver("solver.prototxt", overrides=["type=Adam", "momentum2=0.99"])
    with pytest.raises(CaffeCompatError, match="holds 2 history blobs, type 'Adam' has 4 for this net"):
        adam.restore("snap_iter_5.solverstate")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["base_lrr=1"], "did you mean base_lr"),
        (["base_lr"], "expected NAME=VALUE"),
        (["lr_policy=linear"], "'linear' is not one of"),
        (["type=sgd"], "'sgd' is not one of SGD"),
        (["type=RMSProp"], "momentum cannot be used with RMSProp"),
        (["regularization_type=L3", "weight_decay=1"], "neither L1 nor L2"),
        (["dta.hdf5_data_param.source=x"], "no layer of that name"),
        (["data.hdf5_data_param.sauce=x"], "HDF5DataParameter has no field 'sauce'; did you mean source"),
        (["test_interval=0"], "test_iter is given but test_interval is not"),
    ],
)
def test_wrong_settings_are_explained(workdir, log, settings, message):
    with pytest.raises(CaffeCompatError, match=message):
        Solver("solver.prototxt", overrides=settings)


def test_settings_reach_the_solver_and_the_layers(workdir, log):
    solver = Solver(
        "solver.prototxt", overrides=["base_lr=0.25", "data.hdf5_data_param.batch_size=3", "ip.param=lr_mult: 0"]
    )
    assert solver.param.base_lr == 0.25
    assert solver.net.blob_shapes["data"] == (3, 3)
    assert [p.lr_mult for p in solver.net.params] == [0, 1]


def test_debug_info_logs_every_blob_and_parameter(workdir, log):
    solver = Solver("solver.prototxt", overrides=["debug_info=true"])
    solver.step(1)
    text = "\n".join(log)
    for line in (
        r"    \[Forward\] Layer ip, top blob ip data: ",
        r"    \[Forward\] Layer ip, param blob 1 data: ",
        r"    \[Backward\] Layer loss, bottom blob ip diff: ",
        r"    \[Backward\] Layer ip, param blob 0 diff: ",
        r"    \[Backward\] All net params \(data, diff\): L1 norm = ",
        r"    \[Update\] Layer ip, param 0 data: ",
    ):
        assert re.search(line, text), line


def test_clipping_is_logged_and_bounds_the_gradient(workdir, log):
    solver = Solver("solver.prototxt", overrides=["clip_gradients=0.001", "momentum=0"])
    before = [p.blob.detach().clone() for p in solver.net.params]
    solver.step(1)
    moved = sum(float(((p.blob.detach() - old) ** 2).sum()) for p, old in zip(solver.net.params, before, strict=True))
    assert moved**0.5 == pytest.approx(0.1 * 0.001, rel=1e-3)
    assert any(line.startswith("Gradient clipping: scaling down gradients (L2 norm ") for line in log)


@pytest.mark.parametrize("other", [lambda ip: nn.Linear(2, 3), copy.deepcopy, lambda ip: None])
@pytest.mark.parametrize("which", ["train", "test"])
def test_layers_replaced_under_a_solver_are_refused(workdir, log, other, which):
    """Else it would update parameters that its nets do not compute with, or test others than it trains."""
    solver = Solver("solver.prototxt")
    solver.step(1)
    net = solver.net if which == "train" else solver.test_nets[0]
    net.ip = other(net.ip)
    for go_on in (lambda: solver.step(1), solver.train):
        with pytest.raises(CaffeCompatError, match=r"layer 'ip' \(InnerProduct\) was (replaced|removed)"):
            go_on()
    assert solver.iter == 1
