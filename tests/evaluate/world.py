"""A tiny segmentation net whose answers are known: it copies its input channels to the scores."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from caffecompat.formats import save_caffemodel
from caffecompat.schema import read_net

_SCORES = """
layer { name: "pick" type: "Convolution" bottom: "data" top: "scores"
  convolution_param { num_output: 3 kernel_size: 1 stride: %d bias_term: false } }
"""

DEPLOY = """
name: "copy"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 16 } } }
%s
layer { name: "score" type: "Softmax" bottom: "scores" top: "score" }
"""

TRAIN_VAL = """
name: "copy"
layer { name: "data" type: "ImageSegData" top: "data" top: "label" include { phase: TRAIN }
  image_data_param { source: "nowhere.txt" batch_size: 4 } }
layer { name: "data" type: "ImageSegData" top: "data" top: "label" include { phase: TEST }
  image_data_param { source: "list.txt" batch_size: 2 } }
%s
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "scores" bottom: "label" top: "loss"
  loss_param { ignore_label: 255 } }
"""


class World:
    """A folder with deploy.prototxt, train_val.prototxt, copy.caffemodel, list.txt and the pictures of the list.

    The brightest of a pixel's B, G, R says its class. Of the three pictures' labels the first `wrong` pixels of each
    are off by one class, and one pixel of each is 255.
    """

    def __init__(self, folder: Path, *, stride: int = 1, wrong: int = 5) -> None:
        self.folder, self.deploy, self.weights = folder, folder / "deploy.prototxt", folder / "copy.caffemodel"
        self.train_val, self.list = folder / "train_val.prototxt", folder / "list.txt"
        self.deploy.write_text(DEPLOY % (_SCORES % stride))
        self.train_val.write_text(TRAIN_VAL % (_SCORES % stride))
        blob = np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)
        save_caffemodel(self.weights, read_net(self.deploy), {"pick": [blob]})
        generator = np.random.default_rng(1)
        self.predictions, self.labels = [], []
        lines = []
        for number in range(3):
            classes = generator.integers(0, 3, (8, 16)).astype(np.uint8)
            picture = np.full((8, 16, 3), 10, np.uint8)
            np.put_along_axis(picture, classes[:, :, None], 200, 2)
            labels = classes.copy()
            labels.ravel()[:wrong] = (labels.ravel()[:wrong] + 1) % 3
            labels[7, 15] = 255
            cv2.imwrite(str(folder / f"{number}.png"), picture)
            cv2.imwrite(str(folder / f"{number}_label.png"), labels)
            lines.append(f"{number}.png {number}_label.png\n")
            self.predictions.append(classes)
            self.labels.append(labels)
        self.list.write_text("".join(lines))
