"""The scores of vai_q_caffe test, and of eval on quantized nets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from caffecompat.cli.main import main
from caffecompat.formats import save_caffemodel
from caffecompat.schema import read_net
from tests.api_examples import write_examples

SEGMENTS = """
layer { name: "data" type: "ImageSegData" top: "data" top: "label" image_data_param { source: "pairs.txt" batch_size: 1
  root_folder: "./" label_type: PIXEL } }
layer { name: "score" type: "Convolution" bottom: "data" top: "score"
  convolution_param { num_output: 3 kernel_size: 1 bias_term: false } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss"
  loss_param { ignore_label: 255 } }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_examples()
    Path("own.prototxt").write_text(SEGMENTS)
    weights = np.eye(3, dtype=np.float32)[:, :, None, None]
    weights[2] = 0.0  # class 2 is taken for the first of the others
    save_caffemodel("own.caffemodel", read_net("own.prototxt"), {"score": [weights]})
    return tmp_path


def quantize(model: str, weights: str, *more: str) -> int:
    return main(
        [
            "vai_q_caffe",
            "quantize",
            "-model",
            model,
            "-weights",
            weights,
            "-calib_iter",
            "2",
            "-output_dir",
            "out",
            *more,
        ]
    )


TEST = ["vai_q_caffe", "test", "-model", "out/quantize_train_test.prototxt", "-weights"]
TEST += ["out/quantize_train_test.caffemodel", "-test_iter", "2"]


def test_segmentation(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert quantize("own.prototxt", "own.caffemodel", "-auto_test", "-net_type", "segmentation") == 0
    texts = [capfd.readouterr().err]
    assert main([*TEST, "-net_type", "segmentation", "-seg_metric", "classIOU", "-seg_class_num", "3"]) == 0
    texts.append(capfd.readouterr().err)
    labels = np.arange(64) % 3
    found = np.where(labels == 2, 0, labels)
    shares = [((labels == c) & (found == c)).sum() / max(1, ((labels == c) | (found == c)).sum()) for c in range(3)]
    for text in texts:
        for c, share in enumerate(shares):
            assert f"class {c} IOU: {share:.6g}" in text
        assert f"mIOU: {np.mean(shares):.6g}" in text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["-net_type", "segmentation", "-seg_class_num", "19"], "-seg_class_num 19, but the scores 'score' of"),
        (["-net_type", "detection"], "no DetectionEvaluate layer in its TEST phase"),
        (["-net_type", "pose"], "--net-type pose: expected nothing, segmentation, detection"),
        (["-seg_metric", "dice"], "--seg-metric dice: expected classIOU"),
        (["-ap_style", "13point"], "--ap-style 13point: expected 11point, MaxIntegral, Integral"),
    ],
)
def test_refused(flags: list[str], message: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert quantize("own.prototxt", "own.caffemodel") == 0
    assert main([*TEST, *flags]) == 2
    assert message in " ".join(capfd.readouterr().err.split())


@pytest.mark.parametrize("file", ["quantize_train_test", "deploy"])
def test_eval_takes_quantized_nets(file: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Fed with pictures, as nets in floating point are."""
    assert quantize("own.prototxt", "own.caffemodel") == 0
    assert quantize("train_val.prototxt", "net.caffemodel", "-output_dir", "classes") == 0
    capfd.readouterr()
    net = ["--model", f"out/{file}.prototxt", "--weights", f"out/{file}.caffemodel"]
    assert main(["eval", "segmentation", *net, "--list", "pairs.txt", "--json", "--size", "8x8"]) == 0
    assert json.loads(capfd.readouterr().out)["miou"] == pytest.approx((21 / 42 + 1 + 0) / 3, abs=0.02)
    net = ["--model", f"classes/{file}.prototxt", "--weights", f"classes/{file}.caffemodel"]
    assert main(["eval", "classification", *net, "--list", "list.txt", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["top1"] == 1.0
