"""eval classification as nets of ImageNet are scored: shorter side, center, bicubic."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import caffecompat
from caffecompat.formats import load_caffemodel
from caffecompat.net import Net
from caffecompat.schema import open_net, pb

CLASSES = 9
NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 3 dim: 3 dim: 24 dim: 24 } }
  transform_param { mean_value: 104 mean_value: 117 mean_value: 123 scale: 0.02 %s } }
"""
BODY = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 8 kernel_size: 3 weight_filler { type: "msra" } } }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
  inner_product_param { num_output: 9 weight_filler { type: "gaussian" std: 1 } } }
"""
FLAGS: dict[str, Any] = {
    "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA, "nearest": cv2.INTER_NEAREST,
    "lanczos": cv2.INTER_LANCZOS4,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(4)
    Path("net.prototxt").write_text(NET % "" + BODY)
    Net(open_net("net.prototxt"), pb.TEST, log=False).save("net.caffemodel")
    random = np.random.default_rng(1)
    lines = []
    for number in range(24):
        height, width = random.integers(31, 75, 2)
        small = random.integers(0, 256, (height // 6, width // 6, 3)).astype(np.uint8)
        cv2.imwrite(f"{number}.png", cv2.resize(small, (int(width), int(height)), interpolation=cv2.INTER_CUBIC))
        lines.append(f"{number}.png {random.integers(0, CLASSES)}\n")
    Path("list.txt").write_text("".join(lines))
    return tmp_path


def confusion(side: int, crop: int, how: str) -> np.ndarray:
    """The same by OpenCV's resize, slices and torch's functions: rows are labels."""
    blobs = {
        name: [torch.from_numpy(np.array(blob)) for blob in found]
        for name, found in load_caffemodel("net.caffemodel").items()
    }
    counts = np.zeros((CLASSES, CLASSES), np.int64)
    for line in Path("list.txt").read_text().splitlines():
        name, label = line.split()
        picture = cv2.imread(name)
        height, width = picture.shape[:2]
        size = (side * width // height, side) if height < width else (side, side * height // width)
        picture = cv2.resize(picture, size, interpolation=FLAGS[how])
        top, left = (picture.shape[0] - crop) // 2, (picture.shape[1] - crop) // 2
        pixels = picture[top : top + crop, left : left + crop].astype(np.float32)
        batch = torch.from_numpy(((pixels - np.float32([104, 117, 123])) * np.float32(0.02)).transpose(2, 0, 1)[None])
        maps = torch.nn.functional.conv2d(batch, blobs["conv"][0], blobs["conv"][1].reshape(-1))
        scores = torch.nn.functional.linear(
            maps.mean((2, 3)), blobs["fc"][0].reshape(CLASSES, -1), blobs["fc"][1].reshape(-1)
        )
        counts[int(label), int(scores.argmax())] += 1
    return counts


@pytest.mark.parametrize("how", FLAGS)
def test_it_equals_opencv_and_slices(folder: Path, command: Callable, how: str) -> None:
    words = ["--short-side", "32", "--crop", "24", "--interp", how]
    result = command(
        "eval",
        "classification",
        "--model",
        "net.prototxt",
        "--weights",
        "net.caffemodel",
        "--list",
        "list.txt",
        "--json",
        *words,
    )
    assert result.status == 0, result.err
    np.testing.assert_array_equal(json.loads(result.out)["confusion"], confusion(32, 24, how))
    found = caffecompat.evaluate_classification("net.prototxt", "net.caffemodel", "list.txt", short_side=32, interp=how)
    np.testing.assert_array_equal(found.counts, confusion(32, 24, how))
    assert not np.array_equal(found.counts, confusion(30, 24, how))


def test_the_crop_is_the_input_and_may_be_another(folder: Path) -> None:
    found = caffecompat.evaluate_classification(
        "net.prototxt", "net.caffemodel", "list.txt", short_side=31, crop=29, interp="bicubic"
    )
    np.testing.assert_array_equal(found.counts, confusion(31, 29, "bicubic"))


def test_what_transform_param_says_counts(folder: Path, command: Callable) -> None:
    Path("stated.prototxt").write_text(NET % "short_side: 28 interp_mode: CUBIC" + BODY)
    data = 'layer { name: "data" type: "ImageData" top: ["data", "label"] '
    data += 'image_data_param { source: "list.txt" batch_size: 6 } '
    data += (
        "transform_param { mean_value: [104, 117, 123] scale: 0.02 crop_size: 24 short_side: 28 interp_mode: CUBIC } }"
    )
    loss = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }'
    Path("train_val.prototxt").write_text(data + BODY + loss)
    for model in ("stated.prototxt", "train_val.prototxt"):
        words = ["--model", model, "--weights", "net.caffemodel", "--list", "list.txt", "--json"]
        result = command("eval", "classification", *words)
        assert "no effect" not in result.err
        assert f"{model} says: short side 28, bicubic" in result.err
        np.testing.assert_array_equal(json.loads(result.out)["confusion"], confusion(28, 24, "bicubic"))
    found = command("eval", "classification", "--model", "train_val.prototxt", "--weights", "net.caffemodel", "--json")
    np.testing.assert_array_equal(json.loads(found.out)["confusion"], confusion(28, 24, "bicubic"))
    command("export", "deploy", "--model", "train_val.prototxt", "out/")
    assert "short_side" not in Path("out/deploy.prototxt").read_text()


def test_a_database_is_resized_too(folder: Path) -> None:
    caffecompat.convert_imageset("", "list.txt", "db")
    found = caffecompat.evaluate_classification("net.prototxt", "net.caffemodel", "db", short_side=32, interp="area")
    np.testing.assert_array_equal(found.counts, confusion(32, 24, "area"))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--short-side", "20"], "24"),
        (["--crop", "24"], "--crop needs --short-side or --resize"),
        (["--short-side", "32", "--resize", "32x32"], "without --resize and --mean-file"),
        (["--short-side", "32", "--crop", "24", "--size", "30x30"], "are two sizes of the input"),
        (["--interp", "cubic"], "--interp cubic: expected bilinear, bicubic, area"),
    ],
)
def test_mistakes(folder: Path, command: Callable, words: list[str], complaint: str) -> None:
    model = ["--model", "net.prototxt", "--weights", "net.caffemodel", "--list", "list.txt"]
    result = command("eval", "classification", *model, *words)
    assert result.status == 2 and complaint in result.err
    own = command("eval", "classification", *model[:4], "--short-side", "32")
    assert "--short-side needs --list or --db" in own.err
