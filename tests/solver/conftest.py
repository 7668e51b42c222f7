"""A small solver in its own folder."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from caffecompat import glog
from tests.solver.rank_runs import write_files
from tests.solver.recorded_runs import write_data

NET = """
name: "small"
layer { name: "data" type: "HDF5Data" top: "data" top: "label" hdf5_data_param { source: "data.txt" batch_size: 4 } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" include { phase: TEST } }
"""
SOLVER = """
net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" momentum: 0.9 max_iter: 10 display: 5 snapshot: 5
snapshot_prefix: "snap" random_seed: 3 test_iter: 2 test_interval: 5 solver_mode: CPU
"""


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """A folder with a net, its data and a solver; it is the current directory."""
    generator = np.random.default_rng(0)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        labels = generator.integers(0, 3, 12)
        file["data"] = (np.eye(3)[labels] + 0.1 * generator.standard_normal((12, 3))).astype("f4")
        file["label"] = labels.astype("f4")
    (tmp_path / "data.txt").write_text("data.h5\n")
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def log():
    """What is logged during the test, without the lines' heads."""
    lines: list[str] = []
    glog.set_sink(lambda line: lines.append(line.split("] ", 1)[1]))
    yield lines
    glog.set_sink(None)


@pytest.fixture(scope="module")
def rank_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the nets, solvers and data of `tests.solver.rank_runs`."""
    at = tmp_path_factory.mktemp("ranks")
    write_files(at)
    return at


@pytest.fixture(scope="module")
def run_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data of `tests.solver.recorded_runs`."""
    at = tmp_path_factory.mktemp("data")
    write_data(at)
    return at


@pytest.fixture
def run_folder(run_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """These files in an empty folder, which is the current one."""
    for path in run_data.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(run_data)
    return tmp_path
