"""Nets of one layer that pools regions, proposes them, or reads YOLO's maps, and inputs for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tests.layers.test_proposal import random_inputs
from tests.layers.test_region_pooling import random_rois

Inputs = Callable[[np.random.Generator], dict[str, np.ndarray]]


def fed(name: str, shape: Sequence[int]) -> str:
    dims = " ".join(f"dim: {size}" for size in shape)
    return f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}\n'


def net(shapes: dict[str, Sequence[int]], layer: str) -> str:
    bottoms = " ".join(f'bottom: "{name}"' for name in shapes)
    return "".join(fed(*item) for item in shapes.items()) + f'layer {{ name: "out" top: "out" {bottoms} {layer} }}\n'


def pooled(channels: int, rows: tuple[int, ...]) -> Inputs:
    def make(rng: np.random.Generator) -> dict[str, np.ndarray]:
        rois = random_rois(rng, 30, 2, 9 * 16, 11 * 16).reshape(rows)
        return {"x": rng.standard_normal((2, channels, 9, 11), np.float32), "rois": rois}

    return make


def proposed(anchors: int, info: Sequence[Sequence[float]]) -> Inputs:
    def make(rng: np.random.Generator) -> dict[str, np.ndarray]:
        scores, codes = random_inputs(rng, 2, anchors, (5, 7))
        return {"scores": scores, "codes": codes, "info": np.array(info, np.float32)}

    return make


def maps(*shapes: tuple[int, ...]) -> Inputs:
    def make(rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {f"map{i}": rng.normal(0, 1.5, shape).astype(np.float32) for i, shape in enumerate(shapes)}

    return make


ANCHORS = [(-20, -10, 37, 28), (1, 1, 16, 16), (-30, -30, 60, 60)]
XILINX = " ".join("anchor { left: %d top: %d right: %d bottom: %d }" % box for box in ANCHORS)
SIZES = "biases: 0.7 biases: 0.9 biases: 2.4 biases: 2.6 biases: 4 biases: 1"
PVANET = (
    'type: "Proposal" top: "best" proposal_param { ratio: 0.5 ratio: 1 ratio: 2 scale: 2 scale: 4 min_size: 16 '
    "pre_nms_topn: 90 post_nms_topn: 25 nms_thresh: 0.6 }"
)
RPN = {"scores": (2, 12, 5, 7), "codes": (2, 24, 5, 7)}
V3 = "biases: 10 biases: 14 biases: 23 biases: 27 biases: 37 biases: 58 biases: 81 biases: 82"

REGION_NETS: dict[str, tuple[str, Inputs]] = {
    "ROIPooling": (
        net({"x": (2, 3, 9, 11), "rois": (30, 5)},
            'type: "ROIPooling" roi_pooling_param { pooled_h: 3 pooled_w: 4 spatial_scale: 0.0625 }'),
        pooled(3, (30, 5)),
    ),
    "ROIPooling of four axes": (
        net({"x": (2, 3, 9, 11), "rois": (30, 5, 1, 1)},
            'type: "ROIPooling" roi_pooling_param { pooled_h: 7 pooled_w: 7 spatial_scale: 0.0625 }'),
        pooled(3, (30, 5, 1, 1)),
    ),
    "PSROIPooling": (
        net({"x": (2, 18, 9, 11), "rois": (30, 5)},
            'type: "PSROIPooling" psroi_pooling_param { output_dim: 2 group_size: 3 spatial_scale: 0.0625 }'),
        pooled(18, (30, 5)),
    ),
    "Proposal of PVANet": (
        net({**RPN, "info": (2, 4)}, PVANET), proposed(6, [[75, 100, 1.5, 1], [60, 112, 1, 2]]),
    ),
    "Proposal of Xilinx": (
        net({"scores": (2, 6, 5, 7), "codes": (2, 12, 5, 7), "info": (2, 3)},
            'type: "Proposal" proposal_param { stride_h: 16 stride_w: 15 nms_iou_th: 0.5 nms_input_num: 50 '
            f"nms_output_num: 9 min_width: 20 {XILINX} }}"),
        proposed(3, [[75, 100, 1.5], [60, 112, 0.5]]),
    ),
    "Proposal of Xilinx without a region": (
        net({"scores": (2, 6, 5, 7), "codes": (2, 12, 5, 7), "info": (2, 3)},
            'type: "Proposal" proposal_param { stride_h: 16 stride_w: 15 nms_iou_th: 0.5 nms_input_num: 50 '
            f"nms_output_num: 9 min_width: 2000 {XILINX} }}"),
        proposed(3, [[75, 100, 1.5], [60, 112, 0.5]]),
    ),
    "YoloDetectionOutput": (
        net({"map0": (2, 24, 4, 5), "map1": (2, 24, 6, 6)},
            'type: "YoloDetectionOutput" yolo_detection_output_param { num_classes: 3 num_box: 3 '
            f"confidence_threshold: 0.3 nms_threshold: 0.4 {SIZES} }}"),
        maps((2, 24, 4, 5), (2, 24, 6, 6)),
    ),
    "Yolov3DetectionOutput": (
        net({"map0": (2, 18, 3, 3), "map1": (2, 18, 6, 6)},
            'type: "Yolov3DetectionOutput" yolov3_detection_output_param { num_classes: 4 num_box: 2 '
            "confidence_threshold: 0.4 nms_threshold: 0.3 mask_group_num: 2 mask: 2 mask: 3 mask: 0 mask: 1 "
            f"anchors_scale: 32 anchors_scale: 16 {V3} }}"),
        maps((2, 18, 3, 3), (2, 18, 6, 6)),
    ),
}  # fmt: skip
