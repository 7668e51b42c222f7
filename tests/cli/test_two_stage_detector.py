"""Verbs on a two-stage detector and on YOLO."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from caffecompat.net import Net
from tests.net.faster_rcnn import CPP_PROPOSAL, PYTHON_PROPOSAL, prototxt


@pytest.mark.parametrize("proposal", [PYTHON_PROPOSAL, CPP_PROPOSAL], ids=["python", "C++"])
def test_the_command_line_takes_the_net(
    proposal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.prototxt").write_text(prototxt(proposal, 16, 176, 256))
    Path("b.prototxt").write_text(prototxt(proposal, 16, 176, 256).replace("pooled_w: 7", "pooled_w: 5"))
    result = command("summary", "a.prototxt")
    assert result.status == 0, result.err
    (line,) = [line for line in result.out.splitlines() if line.startswith("roi_pool5 ")]
    assert line.split()[:2] == ["roi_pool5", "ROIPooling"]
    result = command("diff", "a.prototxt", "b.prototxt")
    assert result.status == 1 and "pooled_w" in result.out
    result = command("export", "deploy", "--model", "a.prototxt", "c")
    assert result.status == 0, result.err
    assert "ROIPooling" in Path("c.prototxt").read_text()
    result = command("export", "onnx", "--model", "c.prototxt", "net.onnx")
    assert result.status == 0, result.err
    assert "output cls_prob regionsx21" in result.out


YOLO = """
input: "data" input_shape { dim: 1 dim: 3 dim: 64 dim: 64 }
layer { name: "map" type: "Convolution" bottom: "data" top: "map" convolution_param { num_output: 16 kernel_size: 16
  stride: 16 weight_filler { type: "gaussian" std: 0.01 } } }
layer { name: "boxes" type: "Yolov3DetectionOutput" bottom: "map" top: "boxes" yolov3_detection_output_param {
  num_classes: 3 num_box: 2 mask_group_num: 1 mask: 0 mask: 1 anchors_scale: 16 confidence_threshold: 0.1
  biases: 20 biases: 30 biases: 40 biases: 25 } }
"""


def test_detect_takes_yolo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command) -> None:
    monkeypatch.chdir(tmp_path)
    Path("yolo.prototxt").write_text(YOLO)
    Path("names.txt").write_text("nothing\ncar\nbus\ntram\n")
    cv2.imwrite("a.png", np.random.default_rng(1).integers(0, 256, (48, 80, 3)).astype(np.uint8))
    Net("yolo.prototxt", 1, log=False).save("yolo.caffemodel")
    words = ("detect", "--model", "yolo.prototxt", "--weights", "yolo.caffemodel", "--mean", "127", "--scale", "0.01")
    result = command(*words, "a.png", "--labelmap", "names.txt", "--json", "--threshold", "0.1")
    assert result.status == 0, result.err
    found = json.loads(result.out)["pictures"][0]["detections"]
    assert found and {one["name"] for one in found} <= {"car", "bus", "tram"}
