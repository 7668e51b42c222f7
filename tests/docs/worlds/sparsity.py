"""A net trained to tell stripes of three directions apart, lists of pictures, and a solver to train it on."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from caffecompat import Solver

_STRIPES = """
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 32 kernel_size: 5 stride: 2 weight_filler { type: "msra" } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "conv2" type: "Convolution" bottom: "conv1" top: "conv2"
  convolution_param { num_output: 32 kernel_size: 3 weight_filler { type: "msra" } } }
layer { name: "relu2" type: "ReLU" bottom: "conv2" top: "conv2" }
layer { name: "pool" type: "Pooling" bottom: "conv2" top: "pool" pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
  inner_product_param { num_output: 3 weight_filler { type: "msra" } } }
"""
_STRIPES_SOLVER = """net: "train_val.prototxt" base_lr: 0.01 momentum: 0.9 lr_policy: "fixed" max_iter: %d snapshot: 10
snapshot_prefix: "%s" random_seed: 1 solver_mode: CPU test_iter: 2 test_interval: 1000 test_initialization: false
"""


def write() -> None:
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:16, :16]
    for name, count in (("train", 48), ("val", 24)):
        lines = []
        for number in range(count):
            angle = number % 3 * np.pi / 3
            waves = np.sin(x * np.cos(angle) + y * np.sin(angle) + generator.uniform(0, 6))
            picture = (128 + 60 * waves[..., None] + 20 * generator.standard_normal((16, 16, 3))).clip(0, 255)
            cv2.imwrite(f"{name}{number}.png", picture.astype(np.uint8))
            lines.append(f"{name}{number}.png {number % 3}\n")
        Path(f"{name}.txt").write_text("".join(lines))
    scaled = "transform_param { scale: 0.02 mean_value: 128 }"
    data = "".join(
        f'layer {{ name: "data" type: "ImageData" top: "data" top: "label" include {{ phase: {phase} }} {scaled} '
        f'image_data_param {{ source: "{source}.txt" batch_size: 12 }} }}\n'
        for phase, source in (("TRAIN", "train"), ("TEST", "val"))
    )
    shape = f"input_param {{ shape {{ dim: [1, 3, 16, 16] }} }} {scaled}"
    Path("deploy.prototxt").write_text(
        f'layer {{ name: "data" type: "Input" top: "data" {shape} }}{_STRIPES}'
        'layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }\n'
    )
    loss = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }\n'
    Path("train_val.prototxt").write_text(data + _STRIPES + loss)
    Path("solver.prototxt").write_text(_STRIPES_SOLVER % (20, "tuned"))
    Path("first.prototxt").write_text(_STRIPES_SOLVER % (60, "first"))
    Solver("first.prototxt").train()
    Path("first_iter_60.caffemodel").rename("net.caffemodel")
