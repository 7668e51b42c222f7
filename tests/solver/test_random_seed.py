"""All that is random in a run hangs on `random_seed`: fillers, DummyData, Dropout, stochastic pooling, shuffling."""

from __future__ import annotations

import random
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from caffecompat.solver import Solver

FILLERS = {
    "xavier": 'type: "xavier"',
    "msra": 'type: "msra" variance_norm: AVERAGE',
    "gaussian": 'type: "gaussian" std: 0.1 sparse: 3',
    "uniform": 'type: "uniform" min: -0.1 max: 0.1',
    "positive_unitball": 'type: "positive_unitball"',
}


def _net(folder: Path) -> str:
    text = f"""name: "random"
layer {{ name: "data" type: "HDF5Data" top: "data" top: "label"
  hdf5_data_param {{ source: "{folder}/data.txt" batch_size: 4 shuffle: true }} }}
layer {{ name: "noise" type: "DummyData" top: "noise"
  dummy_data_param {{ shape {{ dim: 4 dim: 2 dim: 6 dim: 6 }} data_filler {{ type: "gaussian" std: 0.1 }} }} }}
layer {{ name: "noisy" type: "Eltwise" bottom: "data" bottom: "noise" top: "noisy" }}
layer {{ name: "conv" type: "Convolution" bottom: "noisy" top: "conv"
  convolution_param {{ num_output: 4 kernel_size: 3 weight_filler {{ {FILLERS["msra"]} }} }} }}
layer {{ name: "relu" type: "ReLU" bottom: "conv" top: "conv" }}
layer {{ name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param {{ pool: STOCHASTIC kernel_size: 2 stride: 2 }} }}
layer {{ name: "drop" type: "Dropout" bottom: "pool" top: "pool" }}
"""
    for name in ("xavier", "gaussian", "uniform", "positive_unitball"):
        text += f"""layer {{ name: "{name}" type: "InnerProduct" bottom: "pool" top: "{name}"
  inner_product_param {{ num_output: 3 weight_filler {{ {FILLERS[name]} }} }} }}
"""
    return (
        text
        + """layer { name: "sum" type: "Eltwise" bottom: "xavier" bottom: "gaussian" bottom: "uniform"
  bottom: "positive_unitball" top: "sum" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "sum" bottom: "label" top: "loss" }
"""
    )


@pytest.fixture
def solver(tmp_path: Path) -> Path:
    """A solver whose net draws random numbers wherever a net can."""
    generator = np.random.default_rng(0)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["data"] = generator.random((12, 2, 6, 6), np.float32)
        file["label"] = generator.integers(0, 3, 12).astype("f4")
    (tmp_path / "data.txt").write_text(f"{tmp_path}/data.h5\n")
    (tmp_path / "net.prototxt").write_text(_net(tmp_path))
    path = tmp_path / "solver.prototxt"
    path.write_text(f'net: "{tmp_path}/net.prototxt" base_lr: 0.05 lr_policy: "fixed" momentum: 0.9 max_iter: 9')
    return path


def _run(solver: Path, seed: int) -> dict[str, list[np.ndarray]]:
    """Initial weights, then those after six iterations."""
    made = Solver(solver, overrides=[f"random_seed={seed}"])
    before = {f"{name} before": [blob.copy() for blob in blobs] for name, blobs in made.net.blobs_by_layer().items()}
    made.step(6)
    return before | made.net.blobs_by_layer()


def test_a_run_repeats_exactly(solver: Path) -> None:
    first = _run(solver, 7)
    # No other generator has a say.
    np.random.seed(1)
    random.seed(2)
    torch.manual_seed(3)
    torch.rand(5)
    second = _run(solver, 7)
    for name, blobs in first.items():
        for one, other in zip(blobs, second[name], strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)


def test_another_seed_is_another_run(solver: Path) -> None:
    first, second = _run(solver, 7), _run(solver, 8)
    for name in (f"{layer} before" for layer in ("conv", *set(FILLERS) - {"msra"})):
        assert not np.array_equal(first[name][0], second[name][0]), name


@pytest.mark.parametrize("kind", ["Dropout", "Pooling"])
def test_one_generator_serves_all(kind: str, solver: Path) -> None:
    """With the seed set right before a pass, the pass repeats; without, it goes on drawing."""
    net = Solver(solver, overrides=["random_seed=1"]).net
    batch = net.next_batch()
    [module] = [layer.module for layer in net.layers if layer.type == kind]
    drawn: list[torch.Tensor] = []
    assert module is not None
    module.register_forward_hook(lambda module, bottoms, top: drawn.append(top.detach().clone()))
    for seed in (5, None, 5):
        if seed is not None:
            torch.manual_seed(seed)
        net.forward(batch)
    assert torch.equal(drawn[0], drawn[2]) and not torch.equal(drawn[0], drawn[1])
