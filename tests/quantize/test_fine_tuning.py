"""Fine-tuning in fixed point on MNIST: it gains where few bits cost accuracy."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffecompat import evaluate_classification
from caffecompat.cli.main import main

MODELS = Path(__file__).parents[2] / "models"
SOLVER = """net: "train_val.prototxt" base_lr: 0.001 lr_policy: "fixed" momentum: 0.9 weight_decay: 0.0005
max_iter: 1000 snapshot_after_train: false snapshot_prefix: "lenet" """


@pytest.mark.nightly
def test_lenet_of_four_bits(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for phase in ("train", "test"):
        Path(f"mnist_{phase}").symlink_to(shared / f"real/mnist-leveldb-{phase}")
    text = (MODELS / "lenet/train_val.prototxt").read_text().replace("backend: LMDB", "backend: LEVELDB")
    for phase in ("train", "test"):
        text = text.replace(f"data/mnist_{phase}_lmdb", f"mnist_{phase}")
    Path("train_val.prototxt").write_text(text)
    Path("solver.prototxt").write_text(SOLVER)
    weights = str(shared / "real/lenet-v2/lenet_iter_10000.caffemodel")
    words = ["quantize", str(MODELS / "lenet/deploy.prototxt"), weights, "mnist_train", "fixed"]
    few = ["--batch", "64", "--iterations", "20", "--weights-bit", "4", "--data-bit", "4"]
    assert main([*words, *few, "--finetune", "solver.prototxt"]) == 0
    scores = {}
    for folder in ("fixed", "fixed/finetuned"):
        net = [f"{folder}/quantize_train_test.{end}" for end in ("prototxt", "caffemodel")]
        scores[folder] = evaluate_classification(net[0], net[1], "mnist_test", batch=100).accuracy(1)
    assert 0.97 < scores["fixed"] < scores["fixed/finetuned"]
