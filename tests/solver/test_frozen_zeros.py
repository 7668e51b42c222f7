"""Weights that are zero when training starts are zero in every snapshot, averages and resumed runs included."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from caffecompat import load_caffemodel, sparsify
from caffecompat.cli.main import main
from caffecompat.solver import Solver

ROOT = Path(__file__).parents[2]
NET = """
layer { name: "data" type: "HDF5Data" top: "data" top: "label" hdf5_data_param { source: "data.txt" batch_size: 4 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 32 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "point" type: "Convolution" bottom: "conv" top: "point"
  convolution_param { num_output: 6 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "point" top: "point" }
layer { name: "fc" type: "InnerProduct" bottom: "point" top: "fc"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""
SOLVER = """net: "net.prototxt" base_lr: 0.05 momentum: 0.9 lr_policy: "fixed" weight_decay: 0.01 max_iter: 12
snapshot: 4 snapshot_prefix: "s" random_seed: 2 solver_mode: CPU type: "%s"
"""


@pytest.fixture
def zeros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """A thinned net to train; where its weights are zero, by layer."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    with h5py.File("data.h5", "w") as file:
        labels = generator.integers(0, 3, 24)
        file["data"] = (labels[:, None, None, None] + generator.standard_normal((24, 2, 6, 6))).astype("f4")
        file["label"] = labels.astype("f4")
    Path("data.txt").write_text("data.h5\n")
    Path("net.prototxt").write_text(NET)
    Path("solver.prototxt").write_text(SOLVER % "SGD")
    Path("adam.prototxt").write_text(SOLVER % "Adam")
    Solver("solver.prototxt").net.save("dense.caffemodel")
    done = sparsify("net.prototxt", "dense.caffemodel", "sparse.caffemodel", target=0.6, limits={"*": 0.8})
    assert done.zeros > 0
    return zeros_of("sparse.caffemodel")


def zeros_of(path: str) -> dict[str, np.ndarray]:
    blobs = load_caffemodel(path)
    return {name: np.asarray(blobs[name][0]) == 0 for name in ("conv", "point", "fc")}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("rule", ["solver", "adam"])
def test_zeros_stay_and_the_rest_learns(zeros: dict[str, np.ndarray], rule: str) -> None:
    words = ["--solver", f"{rule}.prototxt", "--weights", "sparse.caffemodel", "--set", "sparse_mode=1"]
    assert main(["train", *words]) == 0
    before = load_caffemodel("sparse.caffemodel")
    for iteration in (4, 8, 12):
        found = zeros_of(f"s_iter_{iteration}.caffemodel")
        assert np.array_equal(found["conv"], zeros["conv"])
        assert np.array_equal(found["point"], zeros["point"])
        assert not found["fc"].any()  # Jacinto freezes convolutions alone
    after = load_caffemodel("s_iter_12.caffemodel")
    assert not np.array_equal(after["conv"][0], before["conv"][0])
    assert not np.array_equal(after["conv"][1], before["conv"][1])


def test_sparsify_freezes_all_that_it_thinned(zeros: dict[str, np.ndarray]) -> None:
    words = ["net.prototxt", "dense.caffemodel", "again.caffemodel", "--target", "0.6", "--limit", "*=0.8"]
    assert main(["sparsify", *words, "--finetune", "solver.prototxt"]) == 0
    assert same(zeros_of("again.caffemodel"), zeros)
    straight = Path("s_iter_12.caffemodel").read_bytes()
    assert all(same(zeros_of(f"s_iter_{iteration}.caffemodel"), zeros) for iteration in (4, 8, 12))
    # A run that goes on from a snapshot knows the frozen layers, and ends in the same bits.
    os.unlink("s_iter_12.caffemodel")
    resumed = ["--solver", "solver.prototxt", "--snapshot", "s_iter_8.solverstate", "--set", "sparse_mode=1"]
    assert main(["train", *resumed]) == 0
    assert Path("s_iter_12.caffemodel").read_bytes() == straight


def test_weights_that_pass_through_zero_are_not_frozen_by_a_resume(zeros: dict[str, np.ndarray]) -> None:
    overrides = ["sparse_mode=1", "max_iter=4"]
    first = Solver("solver.prototxt", overrides=overrides, weights=["sparse.caffemodel"])
    first.train()
    again = Solver("solver.prototxt", overrides=["sparse_mode=1"])
    again.restore("s_iter_4.solverstate")
    again.net.layers[1].slots[0].parameter.data.zero_()  # all of it is zero for a moment
    again.train()
    assert np.array_equal(zeros_of("s_iter_12.caffemodel")["conv"], zeros["conv"])


def test_averages_are_as_sparse(zeros: dict[str, np.ndarray]) -> None:
    thinning = "sparsity_target=0.9 sparsity_start_factor=0.8 sparsity_step_iter=3 sparsity_threshold_maxratio=1"
    overrides = ["ema_decay=0.9", "sparse_mode=1", *thinning.split(), "sparsity_threshold_value_max=9"]
    solver = Solver("solver.prototxt", overrides=overrides, weights=["dense.caffemodel"])
    solver.train()
    trained, averages = zeros_of("s_iter_8.caffemodel"), zeros_of("s_ema_iter_8.caffemodel")
    assert trained["conv"].sum() > 32
    assert same(trained, averages)


def in_two_processes(*more: str) -> str:
    """What two processes log that train under the solver."""
    command = [sys.executable, "-m", "caffecompat", "train", "--processes", "2", "--solver", "solver.prototxt"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--set", "sparse_mode=1", *more], env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-800:]
    return done.stderr


def test_two_processes(zeros: dict[str, np.ndarray]) -> None:
    log = in_two_processes("--weights", "sparse.caffemodel")
    assert log.count("All zero weights of convolution layers are frozen") == 1
    for iteration in (4, 8, 12):
        found = zeros_of(f"s_iter_{iteration}.caffemodel")
        assert np.array_equal(found["conv"], zeros["conv"])
        assert np.array_equal(found["point"], zeros["point"])


@pytest.mark.nightly
def test_two_processes_go_on(zeros: dict[str, np.ndarray]) -> None:
    in_two_processes("--weights", "sparse.caffemodel")
    straight = Path("s_iter_12.caffemodel").read_bytes()
    in_two_processes("--snapshot", "s_iter_8.solverstate")
    assert Path("s_iter_12.caffemodel").read_bytes() == straight


@pytest.mark.parametrize(
    ("settings", "warning"),
    [
        (["sparsity_target=0.5"], "sparsity_target: 0.5 has no effect without sparse_mode: SPARSE_UPDATE"),
        (["sparse_mode=1", "sparsity_target=60"], "sparsity_target: 60 is no share of zeros"),
        (["sparse_mode=1", "sparsity_target=-1"], "sparsity_target: -1 is no share of zeros"),
        (["sparse_mode=1", "sparsity_target=0.5", "sparsity_start_factor=0.7"], "beyond 0.65"),
        (["sparse_mode=1", "sparsity_target=0.5", "sparsity_start_factor=0.6"], ""),
        (["sparse_mode=1"], ""),
    ],
)
def test_settings_that_thin_nothing(
    zeros: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str], settings: list[str], warning: str
) -> None:
    more = [word for setting in (*settings, "max_iter=1") for word in ("--set", setting)]
    assert main(["train", "--solver", "solver.prototxt", "--weights", "sparse.caffemodel", *more]) == 0
    found = [line for line in capsys.readouterr().err.splitlines() if line.startswith("W") and "sparsity_" in line]
    assert (len(found) == 1 and warning in found[0]) if warning else not found
