"""Verbs that feed a net with pictures take the prototxt that trains as they take the deploy prototxt."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from caffecompat.net import Net
from caffecompat.schema import pb

BODY = """
layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 3 kernel_size: 3 pad: 1
  weight_filler { type: "gaussian" std: 0.1 } } }
"""
POOL = 'layer { name: "pool" type: "Pooling" bottom: "c" top: "p" pooling_param { pool: AVE global_pooling: true } }'
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "%s" bottom: "label" top: "loss" }'
INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 12 dim: 16 } } }'
LISTED = """
layer { name: "data" type: "%(type)s" top: "data" top: "label" %(include)s
  image_data_param { source: "%(list)s" batch_size: 2 new_height: 12 new_width: 16 } }
"""
FLAGS = ("--mean", "100,100,100", "--weights", "net.caffemodel")


@pytest.fixture(params=["", "include { phase: TRAIN }"], ids=["both phases", "data in TRAIN alone"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nets that classify and that segment, as one trains and deploys them, with pictures of another size."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for number in range(3):
        cv2.imwrite(f"{number}.png", rng.integers(0, 256, (24, 32, 3), np.uint8))
        cv2.imwrite(f"{number}_label.png", rng.integers(0, 3, (24, 32), np.uint8))
    Path("classes.txt").write_text("".join(f"{number}.png {number}\n" for number in range(3)))
    Path("pixels.txt").write_text("".join(f"{number}.png {number}_label.png\n" for number in range(3)))
    data = {"type": "ImageData", "list": "classes.txt", "include": request.param}
    Path("classify.prototxt").write_text(LISTED % data + BODY + POOL + LOSS % "p")
    prob = 'layer { name: "prob" type: "Softmax" bottom: "p" top: "prob" }'
    Path("classify_deploy.prototxt").write_text(INPUT + BODY + POOL + prob)
    data = {**data, "type": "ImageSegData", "list": "pixels.txt"}
    Path("segment.prototxt").write_text(LISTED % data + BODY + LOSS % "c")
    Path("segment_deploy.prototxt").write_text(INPUT + BODY)
    Net("segment_deploy.prototxt", pb.TEST, log=False).save("net.caffemodel")
    return tmp_path


VERBS = {
    "segment": ("segment", ("segment", "0.png", "1.png", "--out", "out", "--json")),
    "eval segmentation": ("segment", ("eval", "segmentation", "--list", "pixels.txt", "--json")),
    "eval classification": ("classify", ("eval", "classification", "--list", "classes.txt", "--json")),
    "classify": ("classify", ("classify", "0.png", "1.png", "--json")),
    "classify, crops": ("classify", ("classify", "0.png", "--images_dim", "20,24", "--json")),
}


@pytest.mark.parametrize("verb", VERBS)
def test_the_same_answers(verb: str, folder: Path, command) -> None:
    net, words = VERBS[verb]
    results = []
    for model in (f"{net}.prototxt", f"{net}_deploy.prototxt"):
        result = command(*words, "--model", model, *FLAGS)
        assert result.status == 0, result.err
        results.append({**json.loads(result.out), "model": ""})
        note = f"{model} reads its own data; pictures go into its deploy net instead, input data 1x3x12x16"
        assert (note in result.err) == (model == f"{net}.prototxt")
    assert results[0] == results[1]


def test_an_input_of_unknown_size_is_asked_for(folder: Path, command) -> None:
    text = Path("segment.prototxt").read_text().replace("pixels.txt", "gone.txt")
    Path("segment.prototxt").write_text(text.replace("new_height: 12 new_width: 16", ""))
    words = ("segment", "0.png", "--out", "out", "--model", "segment.prototxt", *FLAGS)
    result = command(*words)
    assert result.status == 2
    assert "segment.prototxt reads its own data, and no deploy net can be made of it" in result.err
    assert "--size WIDTHxHEIGHT" in result.err
    assert command(*words, "--size", "16x12").status == 0


def test_a_detector_without_its_output_says_what_is_missing(golden: Path, folder: Path, command) -> None:
    Path("train.prototxt").write_text((golden / "detection/train.prototxt").read_text())
    result = command("detect", "0.png", "--model", "train.prototxt", "--weights", "net.caffemodel", "--size", "40x32")
    assert result.status == 2 and "no DetectionOutput layer" in result.err
