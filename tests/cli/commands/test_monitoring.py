"""``train --tensorboard`` and ``train --profile``."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffecompat.cli.main import main
from tests.data.batches import write_picture


@pytest.fixture
def solver(tmp_path: Path) -> Path:
    """A segmentation net on two pictures, tested every five of its ten iterations."""
    for k in range(2):
        write_picture(tmp_path / f"{k}.png", np.random.default_rng(k).integers(0, 256, (16, 24, 3), np.uint8))
        write_picture(tmp_path / f"l{k}.png", np.random.default_rng(k).integers(0, 3, (16, 24, 1), np.uint8))
    (tmp_path / "list.txt").write_text("".join(f"{tmp_path}/{k}.png {tmp_path}/l{k}.png\n" for k in range(2)))
    (tmp_path / "net.prototxt").write_text(
        'name: "seg" layer { name: "data" type: "ImageSegData" top: "data" top: "label" '
        f'image_data_param {{ source: "{tmp_path}/list.txt" batch_size: 2 }} transform_param {{ scale: 0.01 }} }}\n'
        'layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4 '
        'kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }\n'
        'layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "bn" }\n'
        'layer { name: "scale" type: "Scale" bottom: "bn" top: "bn" scale_param { bias_term: true } }\n'
        'layer { name: "relu" type: "ReLU" bottom: "bn" top: "bn" }\n'
        'layer { name: "score" type: "Convolution" bottom: "bn" top: "score" convolution_param { num_output: 3 '
        'kernel_size: 1 weight_filler { type: "xavier" } } }\n'
        'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss" }\n'
        'layer { name: "accuracy" type: "Accuracy" bottom: "score" bottom: "label" top: "accuracy" '
        "include { phase: TEST } }\n"
    )
    (tmp_path / "solver.prototxt").write_text(
        f'net: "{tmp_path}/net.prototxt" base_lr: 0.1 lr_policy: "step" gamma: 0.5 stepsize: 5 max_iter: 10 display: 2 '
        f'test_iter: 1 test_interval: 5 snapshot: 5 random_seed: 1 solver_mode: CPU snapshot_prefix: "{tmp_path}/n"'
    )
    return tmp_path / "solver.prototxt"


def events(folder: Path) -> Any:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder))
    found.Reload()
    return found


def test_curves_pictures_and_a_resumed_run(solver: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    train = ["train", "--solver", str(solver), "--tensorboard", str(tmp_path / "board")]
    assert main([*train, "--tensorboard-histograms"]) == 0
    found = events(tmp_path / "board")
    steps = {tag: [event.step for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
    assert steps["train/loss"] == steps["train/smoothed loss"] == steps["learning rate"] == [0, 2, 4, 6, 8]
    assert steps["test/accuracy"] == steps["test/loss"] == [0, 5, 10]
    assert [event.value for event in found.Scalars("learning rate")] == pytest.approx([0.1, 0.1, 0.1, 0.05, 0.05])
    assert found.Scalars("train/loss")[4].value < found.Scalars("train/loss")[0].value
    pictures = [tag for tag in found.Tags()["images"] if tag.startswith("predictions/")]
    assert len(pictures) == 2 and "labels, prediction" in pictures[0]
    assert found.Images(pictures[0])[-1].step == 10
    assert {"weights/conv.weight", "gradients/score.bias"} <= set(found.Tags()["histograms"])

    first = [event.value for event in found.Scalars("train/loss")]
    assert main([*train, "--snapshot", str(tmp_path / "n_iter_5.solverstate")]) == 0
    again = events(tmp_path / "board")  # what the first run had from iteration 5 on is written once more, shown once
    assert [event.step for event in again.Scalars("train/loss")] == [0, 2, 4, 6, 8]
    assert [event.value for event in again.Scalars("train/loss")] == pytest.approx(first)


def test_the_run_is_the_same(solver: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    results = []
    for flags in ([], ["--tensorboard", str(tmp_path / "board"), "--profile", "4"]):
        assert main(["train", "--solver", str(solver), *flags]) == 0
        results.append((tmp_path / "n_iter_10.caffemodel").read_bytes())
    assert results[0] == results[1]


def test_without_tensorboard_the_error_names_the_extra(
    solver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert main(["train", "--solver", str(solver), "--tensorboard", str(tmp_path / "board")]) != 0
    assert "pip install 'caffecompat[tensorboard]'" in capfd.readouterr().err


def test_flags_that_make_no_sense(solver: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--solver", str(solver), "--tensorboard-histograms"]) == 2
    assert "needs --tensorboard DIR" in capfd.readouterr().err
    assert main(["train", "--solver", str(solver), "--profile", "0"]) == 2
    assert "must be a whole number from 1 to 1000, it is 0" in capfd.readouterr().err


def test_profile_by_layer(solver: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--solver", str(solver), "--profile", "4"]) == 0
    said = capfd.readouterr()
    rows = {
        match[1]: (match[2], float(match[3]), float(match[4]))
        for match in re.finditer(r"^(\S+) +(\S.*?)  +([\d.]+) ms +([\d.]+) ms", said.out, re.MULTILINE)
    }
    assert {"conv", "bn", "score", "loss", "other"} <= set(rows) and rows["conv"][0] == "Convolution"
    for name in ("conv", "bn", "score", "loss"):
        assert rows[name][1] > 0 and rows[name][2] > 0, said.out
    assert "Profiled 4 iterations" in said.err
    trace = json.loads((tmp_path / "n_profile.json").read_text())
    names = [event.get("name") for event in trace["traceEvents"] if event.get("cat") == "user_annotation"]
    assert names.count("layer conv") == 4


def test_profile_of_a_run_that_is_too_short(solver: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--solver", str(solver), "--profile", "9", "--set", "max_iter=2"]) == 0
    assert "the first 3 iterations are not profiled, and 2 were done" in capfd.readouterr().err
