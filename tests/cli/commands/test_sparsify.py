"""caffecompat sparsify: tables, JSON, plot, comparison of both modes, fine-tuning."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest

from caffecompat import evaluate_classification, load_caffemodel, read_net, save_caffemodel
from caffecompat.solver import Solver
from tests.api_examples import write_examples

ACCURACY = 'layer { name: "acc" type: "Accuracy" bottom: "fc" bottom: "label" top: "acc" include { phase: TEST } }\n'
PLAIN = ["sparsify", "deploy.prototxt", "net.caffemodel"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The examples' nets, with a classifier whose small weights do not matter."""
    monkeypatch.chdir(tmp_path)
    write_examples()
    blobs = load_caffemodel("net.caffemodel")
    noise = np.random.default_rng(0)
    stored = {
        name: [np.asarray(blob) + noise.uniform(1e-6, 1e-5, blob.shape).astype("f4") for blob in own]
        for name, own in blobs.items()
    }
    save_caffemodel("net.caffemodel", read_net("deploy.prototxt"), stored)
    return tmp_path


def test_report_of_a_net_as_it_is(folder: Path, command) -> None:
    result = command(*PLAIN)
    assert result.status == 0
    lines = [line.split() for line in result.out.splitlines()]
    assert lines[1][:4] == ["conv", "108", "0", "0.0000"]
    assert lines[2][-2:] == ["not", "counted"]
    assert lines[-2][:5] == ["zeros", "0", "of", "108", "weights,"]


def test_json_holds_everything(folder: Path, command) -> None:
    more = ["out.caffemodel", "--target", "0.6", "--limit", "*=0.9", "--report", "list.txt", "--targets", "0.4,0.6"]
    result = command(*PLAIN, *more, "--json")
    assert result.status == 0, result.err
    found = json.loads(result.out)
    assert (found["target"], found["mode"], found["reached"]) == (0.6, "channel", True)
    assert found["zeros"] == sum(layer["zeros"] for layer in found["layers"])
    assert found["effective_macs"] < found["effective_macs_before"] == pytest.approx(found["macs"])
    assert found["scores"]["top-1"]["before"] == 1.0
    score = evaluate_classification("deploy.prototxt", "out.caffemodel", "list.txt")
    assert found["scores"]["top-1"]["sparse"] == score.accuracy(1)
    curve = found["curve"]
    assert curve["score"] == "top-1"
    points = [(point["target"], point["mode"]) for point in curve["points"]]
    assert points == [(0.4, "layer"), (0.4, "channel"), (0.6, "layer"), (0.6, "channel")]
    assert all(point["share"] >= point["target"] for point in curve["points"])
    assert curve["points"][3]["scores"]["top-1"] == score.accuracy(1)
    assert found["plot"] == "sparsity.png"
    assert Path("sparsity.png").read_bytes()[1:4] == b"PNG"


def test_both_modes_side_by_side(folder: Path, command) -> None:
    result = command(*PLAIN, "--limit", "*=0.99", "--report", "list.txt", "--targets", "0.3,0.97", "--plot", "x.svg")
    assert result.status == 0, result.err
    lines = result.out.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("target"))
    assert lines[at].split() == [
        "target", "layer-wise", "zeros", "M", "MACs", "top-1", "channel-wise", "zeros", "M", "MACs", "top-1",
        "difference",
    ]  # fmt: skip
    rows = [line.split() for line in lines[at + 1 : at + 4]]
    assert [row[0] for row in rows] == ["before", "0.3", "0.97"]
    for row in rows[1:]:
        assert float(row[-1]) == pytest.approx(float(row[6]) - float(row[3]), abs=1e-4)
    assert lines[-1] == "wrote x.svg"
    assert Path("x.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("net", "data", "layer", "score"),
    [("segment", "pairs.txt", "score", "mIoU"), ("detect", "boxes.txt", "conf", "mAP, 11point")],
)
def test_other_tasks(folder: Path, command, net: str, data: str, layer: str, score: str) -> None:
    words = ["sparsify", f"{net}.prototxt", f"{net}.caffemodel", "--limit", f"{layer}=0.9", "--report", data]
    result = command(*words, "--targets", "0.5", "--json")
    assert result.status == 0, result.err
    assert json.loads(result.out)["curve"]["score"] == score


def test_fine_tuned_beside_the_others(folder: Path, command) -> None:
    Path("tune.prototxt").write_text(
        'net: "train_val.prototxt" base_lr: 1e-7 lr_policy: "fixed" max_iter: 3 snapshot_prefix: "tuned" '
        "snapshot_after_train: false random_seed: 1"
    )
    more = ["out.caffemodel", "--target", "0.5", "--limit", "*=0.9", "--report", "list.txt", "--targets", "0.5"]
    result = command(*PLAIN, *more, "--finetune", "tune.prototxt")
    assert result.status == 0, result.err
    before, after = [line.split()[1:4] for line in result.out.splitlines() if line.startswith("zeros ")]
    assert after == before  # of the same layers
    assert "wrote tuned_iter_3.caffemodel" in result.out
    head = next(line for line in result.out.splitlines() if line.startswith("score"))
    assert head.split() == ["score", "before", "sparse", "fine-tuned", "difference"]
    thinned, tuned = (load_caffemodel(f"{name}.caffemodel") for name in ("out", "tuned_iter_3"))
    for name in ("conv", "fc"):
        zero = np.asarray(thinned[name][0]) == 0
        assert zero.any()
        assert np.array_equal(np.asarray(tuned[name][0]) == 0, zero)


def test_a_target_out_of_reach(folder: Path, command) -> None:
    result = command(*PLAIN, "out.caffemodel", "--target", "0.9", "--limit", "*=0.5")
    assert result.status == 1
    assert "0.9 was not reached" in result.out
    assert Path("out.caffemodel").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["out.caffemodel"], "with --target SHARE"),
        (["--target", "0.5"], "no layer is thinned by TI's rules"),
        (["--target", "0.5", "--mode", "row"], "--mode row: expected channel or layer"),
        (["--target", "0.5", "--limit", "conv"], "expected"),
        (["--target", "0.5", "--limit", "=0.5"], "expected NAME=SHARE"),
        (["--target", "0.5", "--limit", "cnv=0.5"], "did you mean conv?"),
        (["--target", "0.5", "--finetune", "solver.prototxt"], "--finetune starts from OUT"),
        (["--plot", "a.png"], "--plot is for --report"),
        (["--mode", "layer"], "--mode is for --target"),
        (["--max-ratio", "0.2"], "--max-ratio is for --target and --report"),
        (["--report", "list.txt", "--plot", "no/a.png"], "make the folder first (mkdir -p no)"),
        (["--report", "list.txt", "--targets", "0.5,x"], "--targets 0.5,x: expected shares"),
        (["--report", "list.txt", "--targets", "1.5", "--limit", "*=0.9"], "between 0 and 1"),
        (["net.caffemodel", "--target", "0.5"], "net.caffemodel"),
    ],
)
def test_refused(folder: Path, command, words: list[str], message: str) -> None:
    result = command(*PLAIN, *words)
    assert result.status == 2
    assert message in " ".join(result.err.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--report", "none.txt"], "none.txt"),
        (["--report", "list.txt", "--classes", "none.txt"], "none.txt"),
        (["--report", "list.txt", "--targets", "0.5,1"], "--targets 0.5,1: 1.0: expected a share"),
        (["--report", "list.txt", "--plot", "a.txt"], "a plot's name ends in"),
        (["--finetune", "none.prototxt"], "none.prototxt"),
        (["--finetune", "train_val.prototxt"], "this is a net"),
    ],
)
def test_refused_before_the_long_part(folder: Path, command, words: list[str], message: str) -> None:
    result = command(*PLAIN, "out.caffemodel", "--target", "0.5", "--limit", "*=0.9", *words)
    assert (result.status, result.out) == (2, "")
    assert message in result.err
    assert not Path("out.caffemodel").exists()


def test_data_that_cannot_be_scored_is_known_before_training(folder: Path, command) -> None:
    more = ["out.caffemodel", "--target", "0.5", "--limit", "*=0.9", "--report", "list.txt", "--task", "detection"]
    result = command(*PLAIN, *more, "--finetune", "solver.prototxt")
    assert result.status == 2
    assert "no DetectionOutput layer" in result.err
    assert "Iteration" not in result.err


def test_training_that_was_stopped(folder: Path, command, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(Solver):
        def train(self, resume: str | None = None) -> None:
            self.observers.append(lambda solver: signal.raise_signal(signal.SIGINT))
            super().train(resume)

    monkeypatch.setattr("caffecompat.solver.Solver", Stopped)
    more = ["out.caffemodel", "--target", "0.5", "--limit", "*=0.9", "--finetune", "solver.prototxt"]
    result = command(*PLAIN, *more)
    assert "training was stopped at iteration 1 of" in result.err
    line = next(line for line in result.err.splitlines() if "to go on: " in line).split("to go on: caffecompat ")[1]
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert command(*line.split()).status == 0
