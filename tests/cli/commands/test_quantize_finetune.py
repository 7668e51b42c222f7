"""Training in fixed point, by quantize --finetune and by vai_q_caffe finetune, on a net like LeNet."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from caffecompat import Solver, evaluate_classification, load_caffemodel, load_net, read_net
from caffecompat.cli.main import main
from caffecompat.layers.fixed import FixedNeuron

DATA = """
layer { name: "data" type: "ImageData" top: "data" top: "label" transform_param { scale: 0.0039 mean_value: 120 }
  image_data_param { source: "train.txt" batch_size: 12 new_height: 16 new_width: 16 is_color: false shuffle: %s } }
"""
BODY = """
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" param { lr_mult: 1 } param { lr_mult: 2 }
  convolution_param { num_output: 6 kernel_size: 5 weight_filler { type: "xavier" } } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "ip1" type: "InnerProduct" bottom: "pool1" top: "ip1"
  inner_product_param { num_output: 16 weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "ip1" top: "ip1" }
layer { name: "drop" type: "Dropout" bottom: "ip1" top: "ip1" dropout_param { dropout_ratio: 0.1 } }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }
"""
SOLVER = """net: "train_val.prototxt" base_lr: 0.05 momentum: 0.9 lr_policy: "fixed" max_iter: %d random_seed: 1
test_iter: 2 test_interval: 1000 snapshot_prefix: "%s" """
BITS = ["--data-bit", "4", "--weights-bit", "2"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stripes in three directions, and the net that tells them apart in floating point."""
    folder = tmp_path_factory.mktemp("stripes")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        rng = np.random.default_rng(5)
        y, x = np.mgrid[:16, :16]
        lines = []
        for number in range(60):
            wave = np.sin((x, y, x + y)[number % 3] * 1.2 + rng.uniform(0, 6))
            cv2.imwrite(
                f"{number}.png", np.clip(128 + 60 * wave + rng.normal(0, 40, (16, 16)), 0, 255).astype(np.uint8)
            )
            lines.append(f"{folder}/{number}.png {number % 3}\n")
        Path("train.txt").write_text("".join(lines))
        Path("train_val.prototxt").write_text(DATA % "true" + BODY)
        Path("solver.prototxt").write_text(SOLVER % (60, "float"))
        Path("fine.prototxt").write_text(SOLVER.replace("0.05", "0.01") % (40, "unused"))
        Solver("solver.prototxt").train()
    return folder


def test_quantize_finetune(trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(trained)
    words = ["train_val.prototxt", "float_iter_60.caffemodel", "train.txt", "out", *BITS]
    assert main(["quantize", *words, "--finetune", "fine.prototxt", "--report", "train.txt"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    assert next(row for row in rows if row[0] == "score") == ["score", "float", "quantized", "fine-tuned", "difference"]
    plain, coarse, tuned, less = map(float, next(row for row in rows if row[0] == "top-1")[1:])
    assert plain > 0.95 and coarse < 0.9
    assert tuned > coarse + 0.05 and less == pytest.approx(tuned - plain, abs=2e-4)

    files = {name: f"out/finetuned/{name}" for name in ("quantize_train_test", "deploy")}
    top = [evaluate_classification(f"{f}.prototxt", f"{f}.caffemodel", "train.txt").accuracy() for f in files.values()]
    assert top == [pytest.approx(tuned, abs=1e-4)] * 2
    weights = np.asarray(load_caffemodel("out/finetuned/deploy.caffemodel")["ip2"][0])
    assert len(np.unique(weights)) <= 4  # 2 bits
    floats = [
        np.asarray(load_caffemodel(f"{place}/quantize_train_test.caffemodel")["ip2"][0])
        for place in ("out", "out/finetuned")
    ]
    assert len(np.unique(floats[1])) > 4 and not np.array_equal(*floats)
    assert [layer.type for layer in read_net("out/finetuned/train_val.prototxt").layer if layer.name == "drop"] == []


def test_vai_q_caffe_finetune(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As users type it: quantize, finetune with quantize_train_test.prototxt as the solver's net, deploy."""
    monkeypatch.chdir(trained)
    bits = ["-data_bit", "4", "-weights_bit", "2", "-calib_iter", "5"]
    given = ["-model", "train_val.prototxt", "-weights", "float_iter_60.caffemodel", "-output_dir", "vai"]
    assert main(["vai_q_caffe", "quantize", *given, *bits]) == 0
    Path("vai.prototxt").write_text(Path("fine.prototxt").read_text().replace("train_val", "vai/quantize_train_test"))
    start = "vai/quantize_train_test.caffemodel"
    assert main(["vai_q_caffe", "finetune", "-solver", "vai.prototxt", "-weights", start]) == 0
    net = ["-model", "vai/quantize_train_test.prototxt", "-weights", "unused_iter_40.caffemodel"]
    assert main(["vai_q_caffe", "deploy", *net, "-output_dir", "vai2"]) == 0
    assert "Optimization Done." in capfd.readouterr().err
    score = [
        evaluate_classification("vai/quantize_train_test.prototxt", weights, "train.txt").accuracy()
        for weights in (start, "unused_iter_40.caffemodel")
    ]
    assert score[1] > score[0] + 0.05
    deployed = evaluate_classification("vai2/deploy.prototxt", "vai2/deploy.caffemodel", "train.txt").accuracy()
    assert deployed == pytest.approx(score[1])


NEURON = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: [1, 4] } } }
layer { name: "f" type: "FixedNeuron" bottom: "x" top: "y" fixed_param { fixed_method: DIFF_S bit_width: 8 } }
"""


def test_positions_are_counted_where_iterations_are(tmp_path: Path) -> None:
    """A solver keeps the most frequent position, plain forward passes in TRAIN the batch's own."""
    (tmp_path / "net.prototxt").write_text(NEURON)
    small, large = torch.tensor([[0.5, 0.25, -0.5, 0.125]]), torch.tensor([[8.0, 64.0, -32.0, 2.0]])
    net = load_net(tmp_path / "net.prototxt", phase="TRAIN")
    neuron = next(module for module in net.modules() if isinstance(module, FixedNeuron))
    kept = []
    for neuron.counts in (False, True):
        neuron._seen.clear()
        for batch in (small, small, large):
            net(batch)
        kept.append(neuron.position.item())
    assert kept == [0, 7]
