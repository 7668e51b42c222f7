"""Jacinto's way to a sparse net on a small generated set: training with L2, then with L1, then thinning."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from caffecompat import glog
from caffecompat.formats import load_caffemodel
from caffecompat.solver import Solver

CLASSES, SIDE = 4, 10


def _conv(name: str, bottom: str, more: str = "") -> str:
    return f"""
layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" param {{ lr_mult: 1 }}
  convolution_param {{
    num_output: 32 kernel_size: 3 pad: 1 bias_term: false {more} weight_filler {{ type: "msra" }} }} }}
layer {{ name: "{name}/bn" type: "BatchNorm" bottom: "{name}" top: "{name}"
  batch_norm_param {{ moving_average_fraction: 0.9 eps: 1e-4 scale_bias: true }} }}
layer {{ name: "{name}/relu" type: "ReLU" bottom: "{name}" top: "{name}" }}
"""


NET = (
    """
name: "small_jacintonet"
layer { name: "data" type: "HDF5Data" top: "data" top: "label" include { phase: TRAIN }
  hdf5_data_param { source: "train.txt" batch_size: 16 shuffle: true } }
layer { name: "data" type: "HDF5Data" top: "data" top: "label" include { phase: TEST }
  hdf5_data_param { source: "test.txt" batch_size: 64 } }
"""
    + _conv("conv1a", "data", "stride: 2")
    + _conv("conv1b", "conv1a")
    + _conv("conv2a", "conv1b")
    + """
layer { name: "pool" type: "Pooling" bottom: "conv2a" top: "pool" pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
  inner_product_param { num_output: 4 weight_filler { type: "msra" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" include { phase: TEST } }
"""
)
COMMON = """
net: "net.prototxt" test_iter: 4 test_interval: 100000 test_initialization: false base_lr: 0.02 lr_policy: "poly"
power: 1 momentum: 0.9 random_seed: 7 snapshot_after_train: true solver_mode: CPU type: "SGD" display: 50
"""
STAGES = {
    "initial": 'max_iter: 100 weight_decay: 1e-4 regularization_type: "L2"',
    "l1reg": 'max_iter: 100 weight_decay: 2e-3 regularization_type: "L1"',
    "sparse": """
        max_iter: 120 weight_decay: 2e-3 regularization_type: "L1" sparse_mode: 1 display_sparsity: 40
        sparsity_target: 0.8 sparsity_start_iter: 10 sparsity_start_factor: 0.6 sparsity_step_iter: 10
        sparsity_step_factor: 0.05 sparsity_threshold_maxratio: 0.4 sparsity_threshold_value_max: 0.4
    """,
}


def _pictures(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Stripes in one of four directions under noise: (count, 3, SIDE, SIDE), labels."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, CLASSES, count)
    y, x = np.mgrid[:SIDE, :SIDE]
    angle = labels[:, None, None] * np.pi / CLASSES
    phase = generator.uniform(0, 2 * np.pi, (count, 1, 1))
    stripes = np.sin(1.3 * (x * np.cos(angle) + y * np.sin(angle)) + phase)
    return (stripes[:, None] + 1.5 * generator.standard_normal((count, 3, SIDE, SIDE))).astype("f4"), labels


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, count in (("train", 256), ("test", 256)):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["data"], labels = _pictures(count, len(name))
            file["label"] = labels.astype("f4")
        (tmp_path / f"{name}.txt").write_text(f"{name}.h5\n")
    (tmp_path / "net.prototxt").write_text(NET)
    for stage, text in STAGES.items():
        (tmp_path / f"{stage}.prototxt").write_text(f'{COMMON} {text} snapshot_prefix: "{stage}"')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _sparsity(weights: Path) -> float:
    """Zeros among the convolutions' weights, counted in the file."""
    convs = [blobs[0] for name, blobs in load_caffemodel(weights).items() if re.fullmatch(r"conv\w+", name)]
    assert len(convs) == 3
    return sum(int((blob == 0).sum()) for blob in convs) / sum(blob.size for blob in convs)


def test_three_stages(folder: Path, record_property: Callable[[str, object], None]) -> None:
    log: list[str] = []
    accuracy, sparsity = {}, {}
    before = ""
    for stage in STAGES:
        glog.set_sink(lambda line: log.append(line.split("] ", 1)[-1]))
        try:
            solver = Solver(f"{stage}.prototxt")
            if before:
                solver.load_weights(before)
            solver.train()
            scores = solver.test(0)
        finally:
            glog.set_sink(None)
        assert scores is not None
        before = f"{stage}_iter_{solver.param.max_iter}.caffemodel"
        accuracy[stage], sparsity[stage] = scores["accuracy"][0], _sparsity(folder / before)
    told = ", ".join(f"{stage}: accuracy {accuracy[stage]:.3f}, sparsity {sparsity[stage]:.3f}" for stage in STAGES)
    record_property("measured", f"Jacinto's three stages on a generated set: {told}")
    assert accuracy["initial"] > 0.9
    assert sparsity["initial"] == 0
    assert sparsity["sparse"] >= 0.8
    assert accuracy["sparse"] > accuracy["l1reg"] - 0.03

    found = [line for line in log if line.startswith("Finding and applying sparsity: sparsity_target=0.8")]
    assert [int(line.rsplit("iter=", 1)[1]) for line in found] == list(range(10, 10 + 10 * len(found), 10))
    assert "All zero weights of convolution layers are frozen" in log
    assert sum(line.startswith("Sparsity after update:") for line in log) == 3
    total = next(line for line in reversed(log) if line.startswith("Total Sparsity"))
    assert float(total.rsplit(" ", 1)[1]) == pytest.approx(sparsity["sparse"], abs=5e-4)
