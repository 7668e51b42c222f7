"""An SSD for drawn shapes, which are laid out as Pascal VOC is, as SSD's Caffe has it."""

from __future__ import annotations

import re
from pathlib import Path

from caffecompat.data.shapes import write_shapes
from tests.docs.worlds.weights import random_weights
from tests.solver import shapes_ssd

_DETECTOR_INPUT = """name: "shapes"
input: "data" input_shape { dim: 1 dim: 3 dim: 120 dim: 160 }
"""


def write() -> None:
    write_shapes(Path("shapes"), {"train": 6, "test": 4})
    body = shapes_ssd._body()
    output = re.sub(r"save_output_param \{.*?\} \}", "}", shapes_ssd._OUTPUT, flags=re.S)
    output = output[: output.index('layer { name: "detection_eval"')]
    Path("deploy.prototxt").write_text(_DETECTOR_INPUT + body + output)
    random_weights("deploy.prototxt", "ssd.caffemodel")
