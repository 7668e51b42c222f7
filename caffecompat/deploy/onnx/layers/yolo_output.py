"""ONNX of YOLO's boxes. How many there are depends on values: their axis has no static size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from caffecompat.deploy.onnx.box_selection import best_scores, check_opset, flat_places, suppress
from caffecompat.deploy.onnx.emission import Emission, emits
from caffecompat.deploy.onnx.layers.detection import finish_rows


@emits("YoloDetectionOutput")
def yolo(e: Emission) -> None:
    """Each box with its likeliest class."""
    check_opset(e)
    p = e.module.param.yolo_detection_output_param
    parts = []
    for bottom, shape in zip(e.bottoms, e.bottom_shapes, strict=True):
        sizes = np.array(e.module.sizes) / [shape[3], shape[2]]
        boxes, objectness, classes = _map(e, bottom, shape, sizes, p.num_classes)
        shares = e.op("Softmax", classes, axis=2)
        best = e.reduce("ReduceMax", shares, [2], keep=False)
        label = e.op("ArgMax", shares, axis=2, keepdims=0)
        parts.append((boxes, e.op("Mul", objectness, best), label))
    boxes, scores, labels = (_joined(e, [part[at] for part in parts]) for at in range(3))
    total = sum(p.num_box * shape[2] * shape[3] for shape in e.bottom_shapes)
    below = e.op("Less", scores, e.const(p.confidence_threshold, what="threshold"))
    _detections(e, boxes, scores, labels, e.op("Not", below), (e.shape[0], total, 1))


@emits("Yolov3DetectionOutput")
def yolo_v3(e: Emission) -> None:
    """Each box once for each class that is likely enough."""
    check_opset(e)
    p = e.module.param.yolov3_detection_output_param
    parts = []
    for number, (bottom, shape) in enumerate(zip(e.bottoms, e.bottom_shapes, strict=True)):
        sizes = np.array(e.module.sizes[number]) / (np.array([shape[3], shape[2]]) * p.anchors_scale[number])
        boxes, objectness, classes = _map(e, bottom, shape, sizes, p.num_classes)
        objectness = e.op("Unsqueeze", objectness, e.ints([2]))
        parts.append((boxes, e.op("Mul", e.op("Sigmoid", classes), objectness)))
    boxes, scores = (_joined(e, [part[at] for part in parts]) for at in range(2))
    total = sum(p.num_box * shape[2] * shape[3] for shape in e.bottom_shapes)
    scores = e.reshape(scores, (e.shape[0], total * p.num_classes))
    above = e.op("Greater", scores, e.const(p.confidence_threshold, what="threshold"))
    _detections(e, boxes, scores, None, above, (e.shape[0], total, p.num_classes))


def _map(e: Emission, bottom: str, shape: Sequence[int], sizes: np.ndarray, classes: int) -> tuple[str, str, str]:
    """Boxes (N, K, 4), objectness (N, K) and class scores (N, K, C) of one map; K are rows, columns, boxes."""
    items, _, rows, columns = shape
    values = e.reshape(bottom, (items, len(sizes), 5 + classes, rows, columns))
    values = e.op("Transpose", values, perm=[0, 3, 4, 1, 2])
    values = e.reshape(values, (items, rows * columns * len(sizes), 5 + classes))
    y, x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    cell = np.repeat(np.stack([x, y], -1).reshape(1, -1, 2), len(sizes), 1)
    center = e.op("Add", e.op("Sigmoid", e.slice(values, [0], [2], [2])), e.const(cell, what="cells"))
    center = e.op("Div", center, e.const([columns, rows], what="sides"))
    half = np.tile(sizes, (rows * columns, 1))[None] / 2
    reach = e.op("Mul", e.op("Exp", e.slice(values, [2], [4], [2])), e.const(half, what="half_sizes"))
    boxes = e.op("Concat", e.op("Sub", center, reach), e.op("Add", center, reach), axis=2)
    objectness = e.op("Squeeze", e.op("Sigmoid", e.slice(values, [4], [5], [2])), e.ints([2]))
    return boxes, objectness, e.slice(values, [5], [5 + classes], [2])


def _joined(e: Emission, parts: Sequence[str]) -> str:
    return e.op("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]


def _detections(
    e: Emission, boxes: str, scores: str, labels: str | None, valid: str, shape: tuple[int, int, int]
) -> None:
    """The rows of the top; candidates are the boxes' classes one after the other, unless labels say each box's."""
    items, total, each = shape
    count = total * each
    best, order = best_scores(e, scores, count)
    valid = e.op("GatherElements", e.cast(valid, np.float32), order, axis=1)
    box = e.op("Div", order, e.ints(each, "classes")) if each > 1 else order
    found = e.op("Gather", e.reshape(boxes, (items * total, 4)), flat_places(e, box, items, total), axis=0)
    below = float(np.nextafter(np.float32(e.module.overlap), np.float32(-np.inf)))  # reaching it suppresses
    place = suppress(e, found, e.cast(valid, bool), (items, count), count, below)
    if labels is None:
        label = e.op("Sub", order, e.op("Mul", box, e.ints(each, "classes"))) if each > 1 else e.op("Sub", order, order)
    else:
        label = e.op("GatherElements", labels, order, axis=1)
    label = e.op("Add", e.op("GatherND", label, place), e.ints(1, "one"))
    image, score = e.slice(place, [0], [1], [1]), e.op("GatherND", best, place)
    label, score = (e.op("Unsqueeze", column, e.ints([1])) for column in (e.cast(label, np.float32), score))
    rows = e.op("Concat", e.cast(image, np.float32), label, score, e.op("GatherND", found, place), axis=1)
    finish_rows(e, rows, items)
