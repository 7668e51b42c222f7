"""eval of ONNX files: what export onnx writes scores as the net does; files of others need flags."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import caffecompat
from caffecompat.cli.main import main
from caffecompat.errors import CaffeCompatError
from caffecompat.net import Net
from caffecompat.schema import open_net, pb
from tests.evaluate import deeplab
from tests.evaluate.ssd_world import SsdWorld

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

CLASSIFIER = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 dim: 24 dim: 32 } }
  transform_param { mean_value: 104.0069879 mean_value: 116.6687676 mean_value: 122.6789143 scale: 0.017
    std_value: [0.9, 1.1, 1.3] } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 6 kernel_size: 5 stride: 4 weight_filler { type: "msra" } } }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: MAX global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
  inner_product_param { num_output: 7 weight_filler { type: "gaussian" std: 1 } } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """classify.prototxt, segment.prototxt, their caffemodels and ONNX files; classes.txt and labels.txt."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    for name, text in (("classify", CLASSIFIER), ("segment", deeplab.prototxt(16, (33, 49)))):
        Path(f"{name}.prototxt").write_text(text)
        Net(open_net(f"{name}.prototxt"), pb.TEST, log=False).save(f"{name}.caffemodel")
        caffecompat.export_onnx(f"{name}.prototxt", f"{name}.caffemodel", f"{name}.onnx")
    random = np.random.default_rng(2)
    classes, labels = [], []
    for number in range(10):
        small = random.integers(0, 256, (5, 7, 3)).astype(np.uint8)
        cv2.imwrite(f"{number}.png", cv2.resize(small, (45, 37), interpolation=cv2.INTER_CUBIC))
        cv2.imwrite(f"{number}_label.png", random.integers(0, 5, (37, 45)).astype(np.uint8))
        classes.append(f"{number}.png {random.integers(0, 7)}\n")
        labels.append(f"{number}.png {number}_label.png\n")
    Path("classes.txt").write_text("".join(classes))
    Path("labels.txt").write_text("".join(labels))
    return tmp_path


def scores(command: Callable, *words: str) -> dict:
    result = command("eval", *words, "--json")
    assert result.status == 0, result.err
    found = json.loads(result.out)
    return {name: value for name, value in found.items() if name not in ("model", "weights")}


def net(name: str, *more: str) -> list[str]:
    return ["--model", f"{name}.prototxt", "--weights", f"{name}.caffemodel", *more]


def test_classification(folder: Path, command: Callable) -> None:
    """Ten pictures in batches of four: the last one is filled up."""
    data = ["--list", "classes.txt", "--top", "1,2,3"]
    expected = scores(command, "classification", *net("classify"), *data)
    assert scores(command, "classification", "--model", "classify.onnx", *data) == expected
    assert scores(command, "classification", "--model", "classify.onnx", "--batch", "3", *data) == expected
    assert 0 < expected["top3"] < 1
    result = caffecompat.evaluate_classification("classify.onnx", data="classes.txt", ks=(1, 2, 3))
    assert result.counts.tolist() == expected["confusion"]


@pytest.mark.parametrize("more", [[], ["--resize", "scores"], ["--flip"]])
def test_segmentation(folder: Path, command: Callable, more: list[str]) -> None:
    data = ["--list", "labels.txt", *more]
    expected = scores(command, "segmentation", *net("segment"), *data)
    assert scores(command, "segmentation", "--model", "segment.onnx", *data) == expected
    assert len({row["iou"] for row in expected["classes"]}) == 5


def test_segmentation_by_argmax(folder: Path, command: Callable) -> None:
    """A net that ends in ArgMax, as those for boards do: its input is what is scored."""
    text = deeplab.prototxt(16, (33, 49)).replace('type: "Softmax"', 'type: "ArgMax" argmax_param { axis: 1 }')
    Path("argmax.prototxt").write_text(text)
    caffecompat.export_onnx("argmax.prototxt", "segment.caffemodel", "argmax.onnx")
    data = ["--list", "labels.txt"]
    expected = scores(command, "segmentation", *net("segment"), *data)
    assert scores(command, "segmentation", "--model", "argmax.onnx", *data) == expected
    assert scores(command, "segmentation", "--model", "segment.onnx", "--blob", "up", *data) == expected


@pytest.mark.parametrize("more", [["--bake-preprocessing"], ["--bake-preprocessing", "--rgb"], ["--batch", "dynamic"]])
def test_however_it_was_exported(folder: Path, command: Callable, more: list[str]) -> None:
    for name in ("classify", "segment"):
        assert command("export", "onnx", *net(name), f"{name}.onnx", *more).status == 0
    data = ["--list", "classes.txt"]
    expected = scores(command, "classification", *net("classify"), *data)
    assert scores(command, "classification", "--model", "classify.onnx", *data) == expected
    data = ["--list", "labels.txt", "--fit", "pad", "--iterations", "3", "--size", "49x33"]
    [cv2.imwrite(f"{n}.png", cv2.imread(f"{n}.png")[:33]) for n in range(3)]
    [cv2.imwrite(f"{n}_label.png", cv2.imread(f"{n}_label.png", 0)[:33]) for n in range(3)]
    if "--bake-preprocessing" not in more:  # which would prepare the padding's zeros
        expected = scores(command, "segmentation", *net("segment"), *data)
        assert scores(command, "segmentation", "--model", "segment.onnx", *data) == expected


def test_detection(tmp_path: Path, golden: Path, monkeypatch: pytest.MonkeyPatch, command: Callable) -> None:
    monkeypatch.chdir(tmp_path)
    world = SsdWorld(tmp_path, golden / "detection")
    prepared = ["--mean", "104,117,123", "--scale", "0.01"]
    model = ["--model", str(world.deploy), "--weights", str(world.weights)]
    assert main(["export", "onnx", *model, "ssd.onnx", *prepared]) == 0
    data = ["--db", "db_test_lmdb", "--labelmap", "labelmap.prototxt", "--overlap", "0.3"]
    expected = scores(command, "detection", *model, *prepared, *data)
    assert expected["mAP"]["11point"] == pytest.approx(0.469697, abs=1e-5)
    found = scores(command, "detection", "--model", "ssd.onnx", *data)
    assert found["mAP"] == expected["mAP"] and found["coco"] == expected["coco"]
    assert [row["detections"] for row in found["classes"]] == [row["detections"] for row in expected["classes"]]


def test_segment_and_detect_take_one(folder: Path, golden: Path, command: Callable) -> None:
    for words in ([*net("segment"), "--out", "a"], ["--model", "segment.onnx", "--out", "b"]):
        assert command("segment", "0.png", "1.png", "--raw", *words).status == 0
    for name in ("0_classes.png", "1_classes.png"):
        np.testing.assert_array_equal(cv2.imread(f"a/{name}", 0), cv2.imread(f"b/{name}", 0))
    [classes] = caffecompat.segment("segment.onnx", None, "0.png")
    np.testing.assert_array_equal(classes, cv2.imread("a/0_classes.png", 0))
    world = SsdWorld(folder, golden / "detection")
    model = ["--model", str(world.deploy), "--weights", str(world.weights)]
    assert main(["export", "onnx", *model, "ssd.onnx", "--mean", "104,117,123", "--scale", "0.01"]) == 0
    expected = command("detect", "0.png", *model, "--mean", "104,117,123", "--scale", "0.01", "--threshold", "0.1")
    found = command("detect", "0.png", "--model", "ssd.onnx", "--threshold", "0.1")
    assert (found.status, found.out) == (0, expected.out)
    assert (
        "--weights out" in command("segment", "0.png", *net("segment")[2:], "--model", "segment.onnx", "--out", "c").err
    )


def foreign(source: str, target: str, **shape: int) -> None:
    """The same model as another program would have written it: without metadata."""
    model = onnx.load(source)
    del model.metadata_props[:]
    for axis, size in shape.items():
        model.graph.input[0].type.tensor_type.shape.dim[int(axis[1:])].dim_value = size
    onnx.save(model, target)


def test_a_file_of_others_needs_flags(folder: Path, command: Callable) -> None:
    foreign("classify.onnx", "other.onnx")
    words = ["classification", "--model", "other.onnx", "--list", "classes.txt"]
    result = command("eval", *words)
    assert result.status == 2
    assert "does not say in its metadata how pictures are prepared" in result.err
    assert "--mean B,G,R" in result.err and "--rgb" in result.err
    prepared = ["--mean", "104.0069879,116.6687676,122.6789143", "--scale", "0.017", "--std", "0.9,1.1,1.3"]
    assert "give --rgb" in command("eval", *words, *prepared).err
    expected = scores(command, "classification", *net("classify"), "--list", "classes.txt")
    assert scores(command, *words, *prepared, "--norgb") == expected
    assert scores(command, *words, *prepared, "--rgb") != expected
    with pytest.raises(CaffeCompatError, match="rgb=True"):
        caffecompat.evaluate_classification("other.onnx", data="classes.txt", preprocess=caffecompat.Preprocess())


def test_a_detector_of_others_needs_a_label_map(tmp_path: Path, golden: Path, monkeypatch, command: Callable) -> None:
    monkeypatch.chdir(tmp_path)
    world = SsdWorld(tmp_path, golden / "detection")
    model = ["--model", str(world.deploy), "--weights", str(world.weights)]
    assert main(["export", "onnx", *model, "ssd.onnx"]) == 0
    foreign("ssd.onnx", "other.onnx")
    prepared = ["--mean", "104,117,123", "--scale", "0.01", "--norgb"]
    words = ["--model", "other.onnx", "--db", "db_test_lmdb", *prepared]
    assert "does not say how many classes it finds: give --labelmap FILE" in command("eval", "detection", *words).err
    expected = scores(command, "detection", *model, *prepared[:-1], "--db", "db_test_lmdb")
    assert scores(command, "detection", *words, "--labelmap", "labelmap.prototxt")["mAP"] == expected["mAP"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--model", "segment.onnx", "--weights", "w"], "segment.onnx has its weights in it"),
        (["--model", "segment.onnx", "--set", "a.b=1"], "--set is for prototxts"),
        (["--model", "segment.onnx", "--size", "64x64"], "takes pictures of 49x33 (width x height), not 64x64"),
        (["--model", "segment.onnx", "--scales", "0.5,1"], "cannot work on an input of 25x17, which scale 0.5 makes"),
        (["--model", "segment.onnx", "--blob", "none"], "no value 'none'; its outputs are prob"),
        (["--model", "segment.onnx", "--rgb"], "says that its input is BGR"),
        (["--model", "classify.onnx"], "is no map of scores"),
        (["--model", "nowhere.onnx"], "nowhere.onnx: cannot be read: No such file"),
        (["--model", "text.onnx"], "text.onnx is no ONNX file, or damaged"),
        (["--model", "two.onnx"], "a picture goes into one input; this model has 2"),
        (["--model", "last.onnx"], "is 1x33x49x3; its channels come last"),
        ([*net("segment"), "--rgb"], "--rgb is for ONNX files"),
    ],
)
def test_mistakes(folder: Path, command: Callable, words: list[str], complaint: str) -> None:
    Path("text.onnx").write_text("no model")
    model = onnx.load("segment.onnx")
    model.graph.input.append(onnx.helper.make_tensor_value_info("more", 1, [1, 3, 4, 4]))
    onnx.save(model, "two.onnx")
    foreign("segment.onnx", "last.onnx", a1=33, a2=49, a3=3)
    result = command("eval", "segmentation", "--list", "labels.txt", *words)
    assert result.status == 2
    assert complaint in result.err and "Traceback" not in result.err


def test_without_data_or_the_extra(folder: Path, command: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "fed from outside" in command("eval", "segmentation", "--model", "segment.onnx").err
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    result = command("eval", "segmentation", "--model", "segment.onnx", "--list", "labels.txt")
    assert result.status == 2 and "pip install 'caffecompat[onnx]'" in result.err
