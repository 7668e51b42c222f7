"""`ema_decay`: averaged weights against a plain loop over what training had after each update."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from caffecompat.cli.main import main
from caffecompat.errors import CaffeCompatError
from caffecompat.formats import load_caffemodel
from caffecompat.solver import Solver

NORM = """
layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" batch_norm_param { moving_average_fraction: 0.9 } }
layer { name: "ip" """
DECAY = 0.8


@pytest.fixture
def normalized(workdir: Path) -> Path:
    """The net with a BatchNorm, whose statistics are averaged too."""
    net = workdir / "net.prototxt"
    text = net.read_text().replace('\nlayer { name: "ip" ', NORM)
    net.write_text(text.replace('type: "InnerProduct" bottom: "data"', 'type: "InnerProduct" bottom: "bn"'))
    return workdir


def _solver(*overrides: str) -> Solver:
    return Solver("solver.prototxt", overrides=[f"ema_decay={DECAY}", "snapshot=4", *overrides])


def _weights(solver: Solver) -> list[np.ndarray]:
    return [blob.copy() for blobs in solver.net.blobs_by_layer().values() for blob in blobs]


def _loaded(path: str) -> list[np.ndarray]:
    return [blob for blobs in load_caffemodel(path).values() for blob in blobs]


def _assert_equal(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(found) == len(expected) == 5  # mean, variance, factor, weights, bias
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.ravel(), other.ravel())


def test_against_a_plain_loop(normalized: Path, log: list[str]) -> None:
    solver = _solver()
    seen = [_weights(solver)]
    solver.observers.append(lambda s: seen.append(_weights(s)))
    solver.train()
    averages = [blob.astype("f8") for blob in seen[0]]
    for weights in seen[1:]:
        averages = [DECAY * a + (1 - DECAY) * w for a, w in zip(averages, weights, strict=True)]
    for found, expected in zip(_loaded("snap_ema_iter_10.caffemodel"), averages, strict=True):
        np.testing.assert_allclose(found.ravel(), expected.ravel(), rtol=1e-5, atol=1e-6)
    _assert_equal(_loaded("snap_iter_10.caffemodel"), seen[-1])
    names = sorted(path.name for path in normalized.glob("snap_*"))
    assert names == sorted(
        f"snap_{name}"
        for n in (4, 8, 10)
        for name in (f"iter_{n}.caffemodel", f"ema_iter_{n}.caffemodel", f"iter_{n}.resume", f"iter_{n}.solverstate")
    )


def test_training_does_not_see_them(normalized: Path, log: list[str]) -> None:
    solver = _solver("test_interval=1")
    solver.train()
    plain = Solver("solver.prototxt", overrides=["snapshot_prefix=plain"])
    plain.train()
    _assert_equal(_weights(solver), _weights(plain))


def test_tests_use_them(normalized: Path, log: list[str]) -> None:
    solver = _solver()
    solver.step(7)
    before = _weights(solver)
    place = [param.blob.data_ptr() for param in solver.net.params]
    found = solver.test(0)
    _assert_equal(_weights(solver), before)
    assert [param.blob.data_ptr() for param in solver.net.params] == place
    solver.snapshot()
    assert found is not None
    losses = []
    for path in ("snap_ema_iter_7.caffemodel", "snap_iter_7.caffemodel"):
        other = Solver("solver.prototxt", weights=path)
        for _ in range(4):  # of the tests at iterations 0 and 5
            other.test_nets[0].next_batch()
        scores = other.test(0)
        assert scores is not None
        losses.append(scores["loss"][0])
    assert found["loss"][0] == losses[0] != losses[1]


@pytest.mark.parametrize("stop", [3, 4, 5, 9])
@pytest.mark.parametrize("suffix", ["", ".h5"])
def test_a_resumed_run_is_the_whole_one_bit_for_bit(normalized: Path, log: list[str], stop: int, suffix: str) -> None:
    form = ["snapshot_format=HDF5"] if suffix else []
    whole = _solver("snapshot_prefix=whole", *form)
    whole.train()
    first = _solver(f"max_iter={stop}", *form)
    first.train()
    resumed = _solver(*form)
    log.clear()
    resumed.train(f"snap_iter_{stop}.solverstate{suffix}")
    assert any("go on where they were" in line for line in log)
    _assert_equal(_weights(resumed), _weights(whole))
    for name in ("", "_ema"):
        with_name = [f"{run}{name}_iter_10.caffemodel{suffix}" for run in ("snap", "whole")]
        solver = Solver("solver.prototxt", weights=with_name[0])
        found = _weights(solver)
        solver.net.load_weights(with_name[1])
        _assert_equal(found, _weights(solver))


def test_without_the_resume_file_they_come_from_their_own(normalized: Path, log: list[str]) -> None:
    _solver("max_iter=4").train()
    expected = _loaded("snap_ema_iter_4.caffemodel")
    trained = _loaded("snap_iter_4.caffemodel")
    for break_it in (lambda: None, lambda: os.unlink("snap_iter_4.resume")):
        break_it()
        solver = _solver("snapshot_prefix=other")
        solver.restore("snap_iter_4.solverstate", like_caffe=True)
        _assert_equal(_weights(solver), trained)
        solver.snapshot()
        _assert_equal(_loaded("other_ema_iter_4.caffemodel"), expected)
    os.unlink("snap_ema_iter_4.caffemodel")
    solver = _solver("snapshot_prefix=other")
    solver.restore("snap_iter_4.solverstate")
    assert any("they start from the snapshot's weights" in line for line in log)
    solver.snapshot()
    _assert_equal(_loaded("other_ema_iter_4.caffemodel"), trained)


def test_they_start_from_the_weights_that_are_loaded(normalized: Path, log: list[str]) -> None:
    _solver("max_iter=4").train()
    solver = Solver("solver.prototxt", overrides=[f"ema_decay={DECAY}"], weights="snap_iter_4.caffemodel")
    solver.snapshot()
    _assert_equal(_loaded("snap_ema_iter_0.caffemodel"), _loaded("snap_iter_4.caffemodel"))


def test_a_snapshot_during_a_test_holds_the_trained_weights(normalized: Path, log: list[str]) -> None:
    solver = _solver("test_interval=6", "test_initialization=false", "snapshot=0")
    expected: list[list[np.ndarray]] = []
    solver.observers.append(lambda s: expected.append(_weights(s)) if s.iter == 6 else None)
    net = solver.test_nets[0]
    asked: list[int] = []

    def ask(*_: object) -> None:
        if solver.iter == 6 and not asked:
            asked.append(6)
            os.kill(os.getpid(), signal.SIGHUP)

    net.layers[-1].module.register_forward_hook(ask)  # type: ignore[union-attr]
    solver.train()
    assert asked
    _assert_equal(_loaded("snap_iter_6.caffemodel"), expected[0])
    averages = _loaded("snap_ema_iter_6.caffemodel")
    assert not np.array_equal(averages[3], expected[0][3])
    resumed = _solver("snapshot=0", "snapshot_prefix=resumed")
    resumed.train("snap_iter_6.solverstate")
    _assert_equal(_weights(resumed), _weights(solver))
    _assert_equal(_loaded("resumed_ema_iter_10.caffemodel"), _loaded("snap_ema_iter_10.caffemodel"))


def test_kept_and_best_snapshots_have_them(normalized: Path, log: list[str]) -> None:
    _solver("snapshot_keep=1", "snapshot_best=min:loss").train()
    names = {path.name.partition(".")[0] for path in normalized.glob("snap_*.caffemodel")}
    assert names == {"snap_iter_10", "snap_ema_iter_10", "snap_best", "snap_ema_best"}


@pytest.mark.parametrize("value", ["1", "-0.1", "nan"])
def test_a_decay_out_of_range(workdir: Path, log: list[str], value: str) -> None:
    with pytest.raises(CaffeCompatError, match="ema_decay must be at least 0 and less than 1"):
        Solver("solver.prototxt", overrides=[f"ema_decay={value}"])


def test_a_dry_run_counts_them(normalized: Path, log: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--solver", "solver.prototxt", "--dry-run", "--set", "ema_decay=0.9", "--set",
                 "snapshot_keep=2", "--set", "snapshot_best=max:accuracy"]) == 0  # fmt: skip
    out = capsys.readouterr().out
    assert "weights, gradients and SGD history and averages" in out
    assert "; the newest 2 stay; snap_best: max:accuracy" in out


def test_without_a_decay_there_are_none(workdir: Path, log: list[str]) -> None:
    solver = Solver("solver.prototxt")
    assert not solver.averages.state()
    solver.step(1)
    assert torch.isfinite(solver.net.params[0].blob).all()
