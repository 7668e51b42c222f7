"""Fine-tuning in fixed point, of LeNet on MNIST and ESPNet on drawn streets: it gains where few bits cost accuracy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from caffecompat import Solver, evaluate_classification
from caffecompat.cli.demo.plan import MEAN, SCALE, Plan, write_network
from caffecompat.cli.main import main
from caffecompat.data.streets import write_streets

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


@pytest.mark.nightly
def test_espnet_on_streets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A short training of the full net, then its mIoU in floating point, in 6 bits, and fine-tuned in these."""
    monkeypatch.chdir(tmp_path)
    plan = Plan(
        train=48, val=8, width=128, height=64, batch_size=4,
        encoder_iterations=1, full_iterations=150, snapshot=150, display=150,
    )  # fmt: skip
    write_streets(Path("data"), {"train": plan.train, "val": plan.val}, seed=1, width=plan.width, height=plan.height)
    write_network(Path(), plan, plan.stages())
    Path("snapshots").mkdir()
    full = plan.stages()[1]
    Solver(full.solver).train()
    fine = Path(full.solver).read_text()
    for field, value in {"base_lr": "0.0002", "lr_policy": '"fixed"', "max_iter": "40"}.items():
        fine = re.sub(rf"(?m)^{field}: .*$", f"{field}: {value}", fine)
    Path("espnet/fine.prototxt").write_text(fine)
    words = ["quantize", full.deploy, full.weights, "data/train.txt", "fixed", "--iterations", "12", "--batch", "4"]
    bits = ["--weights-bit", "6", "--data-bit", "6", "--mean", MEAN, "--scale", SCALE]
    report = ["--report", "data/val.txt", "--classes", "data/classes.txt", "--finetune", "espnet/fine.prototxt"]
    assert main([*words, *bits, *report]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    plain, coarse, tuned, _ = map(float, next(row for row in rows if row[0] == "mIoU")[1:])
    assert plain > 0.2
    assert tuned > coarse - 0.02
