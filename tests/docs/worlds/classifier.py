"""Pictures of flowers, their lists, and a small classifier as Caffe's users have one."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.docs.worlds.flowers import CLASSES, write_flowers, write_list
from tests.docs.worlds.weights import random_weights

_CONV = """layer {{ name: "conv{0}" type: "Convolution" bottom: "{1}" top: "conv{0}" {3}
  convolution_param {{ num_output: {2} kernel_size: 3 pad: 1 weight_filler {{ type: "msra" }} }} }}
layer {{ name: "relu{0}" type: "ReLU" bottom: "conv{0}" top: "conv{0}" }}
layer {{ name: "pool{0}" type: "Pooling" bottom: "conv{0}" top: "pool{0}"
  pooling_param {{ pool: MAX kernel_size: 2 stride: 2 }} }}
"""
_PARAMS = "param { lr_mult: 1 } param { lr_mult: 2 decay_mult: 0 }"
_BODY = (
    _CONV.format(1, "data", 8, _PARAMS)
    + _CONV.format(2, "pool1", 16, _PARAMS)
    + """layer { name: "fc" type: "InnerProduct" bottom: "pool2" top: "fc"
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
"""
)
_DATA = """layer { name: "data" type: "ImageData" top: "data" top: "label" include { phase: %s }
  transform_param { mean_value: 104 mean_value: 117 mean_value: 123 scale: 0.017 mirror: %s }
  image_data_param { source: "%s" batch_size: 4 new_height: 32 new_width: 32 shuffle: %s } }
"""
_LOSS = """layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" include { phase: TEST } }
"""
_INPUT = """name: "flowers"
input: "data" input_dim: 1 input_dim: 3 input_dim: 32 input_dim: 32
"""
_PROB = 'layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }\n'
_SOLVER = """net: "train_val.prototxt"
test_iter: 2 test_interval: 4
base_lr: 0.01 lr_policy: "step" gamma: 0.1 stepsize: 1000
momentum: 0.9 weight_decay: 0.0005
display: 2 max_iter: 8 snapshot: 4 snapshot_prefix: "flowers" solver_mode: CPU
"""


def write() -> None:
    for part, count, seed in (("train", 3, 1), ("val", 2, 2)):
        write_flowers(f"pictures/{part}", count, seed)
        write_list(f"pictures/{part}", f"{part}.txt")
    shutil.copyfile("pictures/val/rose/0.jpg", "photo.jpg")
    Path("labels.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    data = _DATA % ("TRAIN", "true", "train.txt", "true") + _DATA % ("TEST", "false", "val.txt", "false")
    Path("train_val.prototxt").write_text('name: "flowers"\n' + data + _BODY + _LOSS)
    Path("deploy.prototxt").write_text(_INPUT + _BODY + _PROB)
    Path("solver.prototxt").write_text(_SOLVER)
    random_weights("deploy.prototxt", "net.caffemodel")
