"""Multi-scale testing of segmentation nets against a plain loop of the same definition."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

import caffecompat
from caffecompat.errors import CaffeCompatError
from caffecompat.evaluate.multi_scale import MultiScale, scaled_size
from caffecompat.formats import load_caffemodel
from caffecompat.net import Net
from caffecompat.schema import open_net, pb
from tests.evaluate import deeplab

SIDE = 65
MEAN = np.float32([104, 117, 123])
SCALES = (0.5, 0.75, 1, 1.25, 1.75)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """s16.prototxt, s8.prototxt, net.caffemodel of random weights, list.txt of four pictures of several sizes."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(3)
    for stride in (8, 16):
        Path(f"s{stride}.prototxt").write_text(deeplab.prototxt(stride))
    Net(open_net("s16.prototxt"), pb.TEST, log=False).save("net.caffemodel")
    random = np.random.default_rng(5)
    lines = []
    for number, (height, width) in enumerate([(65, 65), (40, 60), (65, 50), (33, 21)]):
        small = random.integers(0, 256, (height // 8, width // 8, 3)).astype(np.uint8)
        cv2.imwrite(f"{number}.png", cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))
        labels = random.integers(0, 5, (height, width)).astype(np.uint8)
        labels[:3] = 255
        cv2.imwrite(f"{number}_label.png", labels)
        lines.append(f"{number}.png {number}_label.png\n")
    Path("list.txt").write_text("".join(lines))
    return tmp_path


def plain_iou(
    stride: int, scales: tuple[float, ...], flip: bool, fit: str, size: int = SIDE, weights: str = "net.caffemodel"
) -> np.ndarray:
    """IoU of each class by nothing but numpy, OpenCV's resize and torch's functions."""
    blobs = {name: [np.asarray(blob) for blob in found] for name, found in load_caffemodel(weights).items()}
    counts = np.zeros((5, 5), np.int64)
    for line in Path("list.txt").read_text().splitlines():
        picture, labels = (cv2.imread(name, flag) for name, flag in zip(line.split(), (1, 0), strict=True))
        height, width = labels.shape
        frame = (height, width)
        shown = picture.astype(np.float32)
        if fit == "pad":
            frame = tuple(max(size, -(-(side - 1) // 8) * 8 + 1) for side in (height, width))
            shown = np.empty((*frame, 3), np.float32)
            shown[:] = MEAN
            shown[:height, :width] = picture
        base = frame if fit == "pad" else (size, size)
        total = torch.zeros(1, 5, *frame)
        for scale in scales:
            tall, wide = (int((side - 1) * scale + 1) for side in base)
            scaled = (cv2.resize(shown, (wide, tall), interpolation=cv2.INTER_LINEAR) - MEAN) * np.float32(0.02)
            batch = scaled.transpose(2, 0, 1)[None].copy()
            for mirrored in [False, True][: 1 + flip]:
                given = batch[..., ::-1].copy() if mirrored else batch
                found = torch.from_numpy(deeplab.scores(blobs, given, stride)).softmax(1)
                found = found.flip(3) if mirrored else found
                total += F.interpolate(found, size=frame, mode="bilinear", align_corners=False)
        classes = total[0, :, :height, :width].argmax(0).numpy()
        kept = labels != 255
        np.add.at(counts, (labels[kept].astype(int), classes[kept]), 1)
    hits = counts.diagonal()
    return hits / (counts.sum(0) + counts.sum(1) - hits)


@pytest.mark.parametrize("stride", [16, 8])
@pytest.mark.parametrize(
    ("scales", "flip", "fit"),
    [
        (SCALES, True, "pad"),
        (SCALES, True, "warp"),
        ((1.0,), False, "pad"),
        ((1.0,), True, "warp"),
        ((0.5, 1.3), False, "pad"),
    ],
)
def test_it_equals_a_plain_loop(folder: Path, stride: int, scales: tuple[float, ...], flip: bool, fit: str) -> None:
    matrix = caffecompat.evaluate_segmentation(
        f"s{stride}.prototxt", "net.caffemodel", "list.txt", scales=scales, flip=flip, fit=fit
    )
    np.testing.assert_allclose(matrix.iou(), plain_iou(stride, scales, flip, fit), atol=1e-6, rtol=0)


def test_the_verb_and_segment_agree_with_it(folder: Path, command: Callable) -> None:
    words = ["--scales", "0.5,0.75,1,1.25,1.75", "--flip", "--fit", "pad"]
    model = ["--model", "s8.prototxt", "--weights", "net.caffemodel"]
    result = command("eval", "segmentation", *model, "--list", "list.txt", *words, "--json")
    assert result.status == 0, result.err
    found = [row["iou"] for row in json.loads(result.out)["classes"]]
    np.testing.assert_allclose(found, plain_iou(8, SCALES, True, "pad"), atol=1e-6, rtol=0)
    assert command("segment", *model, "1.png", "--out", "out", "--raw", *words).status == 0
    [classes] = caffecompat.segment("s8.prototxt", "net.caffemodel", "1.png", scales=SCALES, flip=True, fit="pad")
    np.testing.assert_array_equal(cv2.imread("out/1_classes.png", 0), classes)
    assert classes.shape == (40, 60)


def test_stride_8_equals_the_weights_of_stride_16_with_dilation(folder: Path) -> None:
    blobs = {name: [np.asarray(blob) for blob in found] for name, found in load_caffemodel("net.caffemodel").items()}
    batch = np.random.default_rng(0).standard_normal((1, 3, SIDE, SIDE)).astype(np.float32)
    for stride in (8, 16):
        net = Net(open_net(f"s{stride}.prototxt"), pb.TEST, log=False, weights="net.caffemodel")
        with torch.no_grad():
            found = net(batch)["prob"].numpy()
        expected = torch.from_numpy(deeplab.scores(blobs, batch, stride)).softmax(1).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)
    assert expected.std() > 0.01


def test_a_larger_picture_gets_a_larger_input(folder: Path, command: Callable) -> None:
    for stride in (8, 16):
        Path(f"s{stride}.prototxt").write_text(deeplab.prototxt(stride, (33, 33)))
    words = ["--model", "s16.prototxt", "--weights", "net.caffemodel", "--list", "list.txt", "--fit", "pad", "--json"]
    result = command("eval", "segmentation", *words)
    assert "larger than the net's input, 33x33" in result.err and "the first, 65x65, to 65x65" in result.err
    found = [row["iou"] for row in json.loads(result.out)["classes"]]
    np.testing.assert_allclose(found, plain_iou(16, (1.0,), False, "pad", 33), atol=1e-6, rtol=0)


def test_probabilities_are_not_normalized_twice(folder: Path) -> None:
    scores, probabilities = (
        caffecompat.evaluate_segmentation("s16.prototxt", "net.caffemodel", "list.txt", blob=blob, scales=SCALES)
        for blob in ("up", "prob")
    )
    np.testing.assert_array_equal(scores.counts, probabilities.counts)


def test_a_net_of_one_size_says_why_it_cannot(folder: Path, command: Callable) -> None:
    fixed = deeplab.prototxt(16).replace('type: "Interp"', 'type: "Reshape"')
    fixed = fixed.replace("interp_param { zoom_factor: 16 }", "reshape_param { shape { dim: 1 dim: 5 dim: 5 dim: 5 } }")
    Path("fixed.prototxt").write_text(fixed)
    words = ["--model", "fixed.prototxt", "--weights", "net.caffemodel", "--list", "list.txt"]
    assert command("eval", "segmentation", *words, "--flip").status == 0
    result = command("eval", "segmentation", *words, "--scales", "1,1.5")
    assert result.status == 2
    assert "fixed.prototxt cannot work on an input of 97x97, which scale 1.5 makes: layer 'up' (Reshape):" in result.err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--scales", "0.5,0"], "--scales 0.5,0: expected numbers above 0"),
        (["--scales", "half"], "--scales half: expected numbers above 0"),
        (["--fit", "crop"], "--fit crop: expected warp or pad"),
        (["--flip", "--resize", "labels"], "--resize labels: with --scales, --flip or --fit"),
    ],
)
def test_mistakes(folder: Path, command: Callable, words: list[str], complaint: str) -> None:
    model = ["--model", "s8.prototxt", "--weights", "net.caffemodel", "--list", "list.txt"]
    result = command("eval", "segmentation", *model, *words)
    assert result.status == 2 and complaint in result.err


def test_a_net_with_its_own_data_has_no_views(folder: Path) -> None:
    with pytest.raises(CaffeCompatError, match="fit 'crop': expected warp or pad"):
        MultiScale(fit="crop")
    with pytest.raises(CaffeCompatError, match="scales: expected numbers above 0"):
        caffecompat.evaluate_segmentation("s8.prototxt", "net.caffemodel", "list.txt", scales=())
    data = 'layer { name: "%s" type: "DummyData" top: "%s" dummy_data_param { shape { dim: [1, %d, 65, 65] } } }'
    body = deeplab.prototxt(16).replace(
        'type: "Softmax" bottom: "up"', 'type: "SoftmaxWithLoss" bottom: ["up", "label"]'
    )
    body = body[body.index('layer { name: "conv1"') :]
    Path("own.prototxt").write_text(data % ("data", "data", 3) + data % ("label", "label", 1) + body)
    with pytest.raises(CaffeCompatError, match="for pictures from outside"):
        caffecompat.evaluate_segmentation("own.prototxt", "net.caffemodel", iterations=1, flip=True)


@pytest.mark.parametrize(
    ("side", "scale", "expected"),
    [(513, 0.5, 257), (513, 0.75, 385), (513, 1.25, 641), (513, 1.75, 897), (513, 0.7, 359), (512, 0.75, 384),
     (1024, 1.25, 1280), (360, 0.75, 272), (225, 2, 449), (50, 0.5, 26), (7, 1.5, 11), (32, 0.1, 32)],
)  # fmt: skip
def test_sizes(side: int, scale: float, expected: int) -> None:
    assert scaled_size((side, side), scale) == (expected, expected)
