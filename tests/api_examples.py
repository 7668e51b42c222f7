"""The files that the examples of the public API work on, in the current folder."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np

from caffecompat.formats import save_caffemodel
from caffecompat.schema import read_net
from tests import data_set_trees

_INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }\n'
_LISTED = """
layer { name: "data" type: "ImageData" top: "data" top: "label"
  image_data_param { source: "list.txt" batch_size: 2 new_height: 8 new_width: 8 } }
"""
_BODY = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
  inner_product_param { num_output: 2 bias_term: false weight_filler { type: "xavier" } } }
"""
_V1 = 'input: "data" input_dim: [1, 1, 2, 2] layers { type: RELU bottom: "data" top: "r" }'
_SOFTMAX = 'layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }\n'
_LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }\n'
_ACCURACY = 'layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" }\n'
_LOG_PREFIX = "I0706 13:22:47.513291  4945 solver.cpp:1] "
_LOG = [
    "Solving net",
    "Iteration 0, loss = 0.7",
    "    Train net output #0: loss = 0.7 (* 1 = 0.7 loss)",
    "Iteration 0, lr = 0.1",
    "Iteration 10, loss = 0.5",
    "    Train net output #0: loss = 0.5 (* 1 = 0.5 loss)",
    "Iteration 10, lr = 0.1",
]
_NORMALIZED = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 2 kernel_size: 1 } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
"""
_SEGMENT = """
layer { name: "score" type: "Convolution" bottom: "data" top: "score"
  convolution_param { num_output: 3 kernel_size: 1 bias_term: false } }
"""
_DETECT = """
layer { name: "pool" type: "Pooling" bottom: "data" top: "pool" pooling_param { pool: AVE kernel_size: 8 } }
layer { name: "loc" type: "Convolution" bottom: "pool" top: "loc" convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "conf" type: "Convolution" bottom: "pool" top: "conf"
  convolution_param { num_output: 2 kernel_size: 1 } }
layer { name: "priors" type: "PriorBox" bottom: "pool" bottom: "data" top: "priors" prior_box_param { min_size: 4 } }
layer { name: "loc_flat" type: "Flatten" bottom: "loc" top: "loc_flat" }
layer { name: "conf_flat" type: "Softmax" bottom: "conf" top: "conf_soft" }
layer { name: "conf_row" type: "Flatten" bottom: "conf_soft" top: "conf_flat" }
layer { name: "found" type: "DetectionOutput" bottom: "loc_flat" bottom: "conf_flat" bottom: "priors" top: "found"
  detection_output_param { num_classes: 2 nms_param { nms_threshold: 0.45 } keep_top_k: 1 } }
"""
_OBJECT = """<annotation><size><width>8</width><height>8</height><depth>3</depth></size><object><name>thing</name>
<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>6</xmax><ymax>6</ymax></bndbox></object></annotation>"""


def write_examples() -> None:
    """Nets with their weights, a solver, and pictures: dark ones of class 0, bright ones of class 1."""
    for number, value in enumerate((10, 200, 20, 220)):
        cv2.imwrite(f"{number}.png", np.full((8, 8, 3), value, np.uint8))
    Path("list.txt").write_text("0.png 0\n1.png 1\n2.png 0\n3.png 1\n")
    Path("names.txt").write_text("cat\ndog\n")
    Path("old.prototxt").write_text(
        'input: "data" input_dim: [1, 1, 2, 2] layers { type: RELU bottom: "data" top: "r" }'
    )
    Path("train_val.prototxt").write_text(_LISTED + _BODY + _LOSS)
    Path("test.prototxt").write_text(_LISTED + _BODY + _LOSS + _ACCURACY)
    Path("train.log").write_text("".join(f"{_LOG_PREFIX}{line}\n" for line in _LOG))
    Path("solver.prototxt").write_text(
        'net: "train_val.prototxt" base_lr: 0.00001 lr_policy: "fixed" max_iter: 2 random_seed: 1\n'
    )
    conv = np.zeros((4, 3, 3, 3), np.float32)
    conv[0, :, 1, 1] = 1 / 3  # the first channel is the picture's brightness, the second is 1
    fc = np.zeros((2, 4, 8, 8), np.float32)
    fc[0, 1], fc[1, 0] = 1.0, 0.01
    biases = np.array([0, 1, 0, 0], np.float32)
    _write("deploy.prototxt", _INPUT + _BODY + _SOFTMAX, "net", {"conv": [conv, biases], "fc": [fc.reshape(2, -1)]})
    rng = np.random.default_rng(1)
    two, one = np.full(2, 2, np.float32), np.ones(1, np.float32)
    weights = rng.standard_normal((2, 3, 1, 1)).astype(np.float32)
    bn = {"conv": [weights, two], "bn": [two / 2, two * 3, one], "scale": [two, two / 4]}
    _write("bn.prototxt", _INPUT + _NORMALIZED, "bn", bn)
    _write_segmentation()
    _write_detection()
    _write_data_sets()
    data_set_trees.video(Path("drive.avi"), 5)


def _write(prototxt: str, text: str, name: str, blobs: dict[str, list[np.ndarray]]) -> None:
    Path(prototxt).write_text(f'name: "{name}"\n{text}')
    save_caffemodel(f"{name}.caffemodel", read_net(prototxt), blobs)


def _write_segmentation() -> None:
    """The brightest of a pixel's B, G, R is its class."""
    _write("segment.prototxt", _INPUT + _SEGMENT, "segment", {"score": [np.eye(3, dtype=np.float32)[:, :, None, None]]})
    labels = np.arange(64).reshape(8, 8).astype(np.uint8) % 3
    cv2.imwrite("scene.png", np.eye(3, dtype=np.uint8)[labels] * 200)
    cv2.imwrite("scene_labels.png", labels)
    Path("pairs.txt").write_text("scene.png scene_labels.png\n")


def _write_detection() -> None:
    """A box in the middle is found in every picture."""
    blobs = {
        "loc": [np.zeros((4, 3, 1, 1), np.float32), np.zeros(4, np.float32)],
        "conf": [np.zeros((2, 3, 1, 1), np.float32), np.array([0, 5], np.float32)],
    }
    _write("detect.prototxt", _INPUT + _DETECT, "detect", blobs)
    Path("object.xml").write_text(_OBJECT)
    Path("things.prototxt").write_text('item { name: "thing" label: 1 }')
    Path("found.json").write_text(
        json.dumps(
            [{"image_id": picture, "category_id": 1, "bbox": [2, 2, 4, 4], "score": 0.9} for picture in ("0", "1")]
        )
    )
    Path("boxes.txt").write_text("0.png object.xml\n1.png object.xml\n")


def _write_data_sets() -> None:
    """Published data sets, of a few pictures each."""
    here = Path()
    for make in (data_set_trees.voc2012, data_set_trees.cityscapes, data_set_trees.coco, data_set_trees.imagenet):
        make(here)
    if importlib.util.find_spec("scipy"):
        data_set_trees.sbd(here)
