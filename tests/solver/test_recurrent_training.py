"""A net with an LSTM learns what only a memory can: to repeat what it saw steps ago; its snapshots resume."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from caffecompat.solver import Solver

STEPS, STREAMS, SYMBOLS, DELAY = 12, 8, 4, 3


@pytest.fixture
def solver(tmp_path: Path) -> Path:
    """Symbols come in, the label is the symbol DELAY steps before (0 at first); batches follow each other in time."""
    generator = np.random.default_rng(0)
    symbols = generator.integers(0, SYMBOLS, (4 * STEPS, STREAMS))
    cont = np.ones(symbols.shape)
    cont[0] = 0
    label = np.vstack([np.zeros((DELAY, STREAMS)), symbols[:-DELAY]])
    with h5py.File(tmp_path / "data.h5", "w") as file:
        for name, values in (("symbol", symbols), ("cont", cont), ("label", label)):
            file[name] = values.astype("f4")
    (tmp_path / "data.txt").write_text(f"{tmp_path}/data.h5\n")
    (tmp_path / "net.prototxt").write_text(f"""
layer {{ name: "data" type: "HDF5Data" top: "symbol" top: "cont" top: "label"
  hdf5_data_param {{ source: "{tmp_path}/data.txt" batch_size: {STEPS} }} }}
layer {{ name: "embed" type: "Embed" bottom: "symbol" top: "embed"
  embed_param {{ input_dim: {SYMBOLS} num_output: 6 weight_filler {{ type: "uniform" min: -1 }} }} }}
layer {{ name: "lstm" type: "LSTM" bottom: "embed" bottom: "cont" top: "lstm"
  recurrent_param {{ num_output: 16 weight_filler {{ type: "uniform" min: -0.3 max: 0.3 }} }} }}
layer {{ name: "predict" type: "InnerProduct" bottom: "lstm" top: "predict"
  inner_product_param {{ num_output: {SYMBOLS} axis: 2 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "predict" bottom: "label" top: "loss"
  softmax_param {{ axis: 2 }} }}
""")
    path = tmp_path / "solver.prototxt"
    path.write_text(
        f'net: "{tmp_path}/net.prototxt" type: "Adam" base_lr: 0.02 lr_policy: "fixed" max_iter: 400 random_seed: 1 '
        f'clip_gradients: 10 snapshot_prefix: "{tmp_path}/snap"'
    )
    return path


def _loss(solver: Solver) -> float:
    return float(solver.net.loss(solver.net.forward()).detach())


def test_it_learns_to_remember_and_resumes(solver: Path, tmp_path: Path) -> None:
    run = Solver(solver)
    first = _loss(run)
    run.step(200)
    run.snapshot()
    assert _loss(run) < 0.1 * first

    resumed = Solver(solver)
    resumed.restore(str(tmp_path / "snap_iter_200.solverstate"))
    for name, blobs in run.net.blobs_by_layer().items():
        for one, other in zip(blobs, resumed.net.blobs_by_layer()[name], strict=True):
            np.testing.assert_array_equal(one, other)
    resumed.step(10)
    assert resumed.iter == 210 and _loss(resumed) < 0.2 * first
