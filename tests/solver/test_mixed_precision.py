"""Training in 16 bits comes to what training in 32 does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from caffecompat.net.precision import Amp
from caffecompat.solver import Solver

SOLVER = """
net: "net.prototxt" base_lr: 0.01 momentum: 0.9 weight_decay: 0.0005 lr_policy: "inv" gamma: 0.0001 power: 0.75
max_iter: 200 random_seed: 1 snapshot_after_train: false test_iter: 20 test_interval: 1000 test_initialization: false
"""


def _accuracy(amp: Amp | None) -> float:
    solver = Solver("solver.prototxt", amp=amp)
    solver.train()
    scores = solver.test(0)
    assert scores is not None
    for net in (solver.net, *solver.test_nets):
        net.close()
    return scores["accuracy"][0]


def test_lenet_on_mnist(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property) -> None:
    """The recipe of BVLC's example with its own files, shortened: within one point of the float run."""
    pytest.importorskip("plyvel")
    for name in ("mnist-leveldb-train", "mnist-leveldb-test"):
        shutil.copytree(shared / "real" / name, tmp_path / name)
    text = (shared / "real/bvlc/examples/mnist/lenet_train_test.prototxt").read_text()
    for kind in ("train", "test"):
        text = text.replace(f"examples/mnist/mnist_{kind}_lmdb", f"mnist-leveldb-{kind}")
    (tmp_path / "net.prototxt").write_text(text.replace("LMDB", "LEVELDB"))
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    monkeypatch.chdir(tmp_path)
    plain, mixed = _accuracy(None), _accuracy("bf16")
    record_property("measured", f"LeNet on MNIST after 200 iterations: float32 {plain:.4f}, bfloat16 {mixed:.4f}")
    assert plain > 0.85
    assert mixed > plain - 0.01
