"""ONNX of two-stage detectors and of YOLO's boxes, in standard operators.

How many regions or boxes there are depends on values, so the first axis of what is made of them has no static size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from caffecompat.deploy.onnx.emission import Cannot, Emission, emits
from caffecompat.deploy.onnx.emitters_detection import finish_rows
from caffecompat.layers.proposal import Proposal, PythonProposal

_LOWEST = float(np.finfo(np.float32).min)
_FIRST = 12
_LAST_ROI_POOL = 21


@emits("ROIPooling")
def roi_pooling(e: Emission) -> None:
    """MaxRoiPool, which is Fast R-CNN's."""
    if e.builder.opset > _LAST_ROI_POOL:
        raise Cannot(f"onnxruntime has MaxRoiPool up to opset {_LAST_ROI_POOL}; ask for that or an older one (--opset)")
    cells, scale = list(e.module.cells), float(e.module.scale)
    e.op("MaxRoiPool", e.bottoms[0], _regions(e), to=e.tops[0], pooled_shape=cells, spatial_scale=scale)


def _regions(e: Emission) -> str:
    return e.bottoms[1] if len(e.bottom_shapes[1]) == 2 else e.reshape(e.bottoms[1], (-1, 5))


def _check_opset(e: Emission) -> None:
    """Before 11 there is neither CumSum nor GatherND, before 12 no greater of two whole numbers."""
    if e.builder.opset < _FIRST:
        lacks = "no greater of two whole numbers (Max)" if e.builder.opset == 11 else "neither CumSum nor GatherND"
        raise Cannot(f"opset {e.builder.opset} has {lacks}")


@emits("PSROIPooling")
def psroi_pooling(e: Emission) -> None:
    """Differences of sums over rectangles, which CumSum gives, in double precision."""
    _check_opset(e)
    m, side = e.module, e.module.side
    items, _, height, width = e.shape
    planes = e.reshape(e.cast(e.bottoms[0], np.float64), (items, m.channels, side * side, height, width))
    planes = e.op("Transpose", planes, perm=[0, 2, 3, 4, 1])
    sums = e.op("CumSum", e.op("CumSum", planes, e.const(2, np.int64, "rows")), e.const(3, np.int64, "columns"))
    begins = e.ints([0, 0, 1, 1, 0, 0, 0, 0, 0, 0], "margin")
    sums = e.op("Pad", sums, begins, e.const(0, np.float64, "zero"))
    regions = _regions(e)
    first, end = _cells(e, regions, side, (width, height))
    spread = e.ints(np.zeros((1, side, side)), "cells")
    item = e.op("Add", e.op("Unsqueeze", e.cast(e.slice(regions, [0], [1], [1]), np.int64), e.ints([2])), spread)
    cell = e.op("Add", e.op("Mul", item, e.ints(0, "none")), e.ints(np.arange(side * side).reshape(1, side, side)))

    def edge(places: str, axis: int) -> str:
        """Columns (axis 0) or rows (axis 1) of each cell, (R, side, side)."""
        own = e.op("Gather", places, e.ints(axis), axis=1)
        return e.op("Add", e.op("Unsqueeze", own, e.ints([2 if axis else 1])), spread)

    left, right, top, bottom = edge(first, 0), edge(end, 0), edge(first, 1), edge(end, 1)

    def total(y: str, x: str) -> str:
        parts = [e.op("Unsqueeze", part, e.ints([3])) for part in (item, cell, y, x)]
        return e.op("GatherND", sums, e.op("Concat", *parts, axis=3))

    inside = e.op("Sub", total(bottom, right), total(top, right))
    inside = e.op("Add", e.op("Sub", inside, total(bottom, left)), total(top, left))
    none, one = e.ints(0, "none"), e.const(1, np.float64, "one")
    sizes = [e.op("Max", e.op("Sub", high, low), none) for high, low in ((bottom, top), (right, left))]
    area = e.op("Unsqueeze", e.cast(e.op("Mul", *sizes), np.float64), e.ints([3]))
    mean = e.op("Mul", e.op("Div", inside, e.op("Max", area, one)), e.op("Min", area, one))
    e.cast(e.op("Transpose", mean, perm=[0, 3, 1, 2]), np.float32, to=e.tops[0])


def _cells(e: Emission, regions: str, side: int, limits: tuple[int, int]) -> tuple[str, str]:
    """First and end (exclusive) columns and rows of each region's cells, (R, 2, side) int64."""
    corners = e.slice(regions, [1], [5], [1])
    halves = e.op("Floor", e.op("Add", e.op("Abs", corners), e.const(0.5, what="half")))
    whole, scale = e.op("Mul", e.op("Sign", corners), halves), e.const(e.module.scale, what="scale")
    start = e.op("Mul", e.slice(whole, [0], [2], [1]), scale)
    end = e.op("Mul", e.op("Add", e.slice(whole, [2], [4], [1]), e.const(1, what="one")), scale)
    size = e.op("Max", e.op("Sub", end, start), e.const(0.1, what="least"))
    size = e.op("Unsqueeze", e.op("Div", size, e.const(side, what="side")), e.ints([2]))
    steps = e.op("Mul", size, e.const(np.arange(side + 1).reshape(1, 1, -1), what="steps"))
    places = e.op("Add", steps, e.op("Unsqueeze", start, e.ints([2])))
    most, zero = e.const(np.reshape(limits, (1, 2, 1)), what="limits"), e.const(0, what="zero")

    def within(value: str) -> str:
        return e.cast(e.op("Max", e.op("Min", value, most), zero), np.int64)

    return (
        within(e.op("Floor", e.slice(places, [0], [side], [2]))),
        within(e.op("Ceil", e.slice(places, [1], [side + 1], [2]))),
    )


@emits("Proposal")
def proposal(e: Emission) -> None:
    """Boxes, TopK and NonMaxSuppression."""
    proposals(e, e.module)


def proposals(e: Emission, m: Proposal | PythonProposal) -> None:
    """The tops of a layer that proposes regions."""
    _check_opset(e)
    rules, late = m.rules, m.rules.small == "late"
    items, codes, count = e.shape[0], e.bottom_shapes[1], len(m.anchors)
    columns = int(np.prod(e.bottom_shapes[2][1:]))
    info = e.bottoms[2] if len(e.bottom_shapes[2]) == 2 else e.reshape(e.bottoms[2], (-1, columns))
    boxes = _boxes(e, m, info, (items, count, *codes[2:]))
    low, high = e.slice(boxes, [0], [2], [-1]), e.slice(boxes, [2], [4], [-1])
    size = e.op("Sub", high, low)
    least = e.op("Gather", info, e.ints([3 if columns > 3 else 2, 2], "factors"), axis=1)
    least = e.op("Unsqueeze", e.op("Mul", least, e.const(rules.least, what="least")), e.ints([1]))
    if rules.inclusive:
        fits = e.op("Not", e.op("Less", e.op("Add", size, e.const(1, what="one")), least))
    else:
        fits = e.op("Greater", size, least)
    large = e.reduce("ReduceMin", e.cast(fits, np.float32), [2], keep=False)
    scores = e.slice(e.bottoms[0], [count], [2 * count], [1])
    scores = scores if late else e.op("Transpose", scores, perm=[0, 2, 3, 1])
    total = count * codes[2] * codes[3]
    scores = e.reshape(scores, (items, total))
    if rules.small == "last":
        scores = e.op("Mul", scores, large)
    elif rules.small == "out":
        scores = e.op("Where", e.cast(large, bool), scores, e.const(_LOWEST, what="lowest"))
    before = min(rules.before, total)
    best, order = _best(e, scores, before)
    valid = e.op("Greater", best, e.const(_LOWEST, what="lowest"))
    if late:
        valid = e.cast(e.op("GatherElements", large, order, axis=1), bool)
    found = e.op("Gather", e.reshape(boxes, (items * total, 4)), _flat(e, order, items, total), axis=0)
    wide = e.op("Add", found, e.const([0, 0, 1, 1], what="width_of_a_pixel")) if rules.inclusive else found
    place = _suppress(e, wide, valid, (items, before), rules.after, rules.overlap)
    image = e.cast(e.slice(place, [0], [1], [1]), np.float32)
    rows = e.op("Concat", image, e.op("GatherND", found, place), axis=1, to=None if late else e.tops[0])
    if late:  # one region where there is none
        both = e.op("Concat", rows, e.const([[0, 0, 0, 1, 1]], what="no_region"), axis=0)
        length = e.op("Max", e.slice(e.op("Shape", rows), [0], [1], [0]), e.ints([1], "one"))
        e.op("Slice", both, e.ints([0], "starts"), length, e.ints([0], "axes"), to=e.tops[0])
    if len(e.tops) > 1:
        kept = e.op("GatherND", best, place, to=e.tops[1] if isinstance(m, Proposal) else None)
        if not isinstance(m, Proposal):
            e.op("Reshape", kept, e.ints([-1, 1]), to=e.tops[1])


def _boxes(e: Emission, m: Proposal | PythonProposal, info: str, shape: Sequence[int]) -> str:
    """What the layer proposes, (N, K, 4), in the order of its scores; shape (N, A, H, W)."""
    items, count, rows, columns = shape
    late = m.rules.small == "late"
    anchors = m.anchors.detach().cpu().numpy().astype(np.float32)
    size = anchors[:, 2:] - anchors[:, :2] + 1
    y, x = np.meshgrid(np.arange(rows) * m.rules.stride[0], np.arange(columns) * m.rules.stride[1], indexing="ij")
    center = np.stack([x, y], -1).astype(np.float32)[:, :, None] + anchors[:, :2] + np.float32(0.5) * size
    sizes = np.broadcast_to(size, center.shape)
    if late:  # anchor by anchor
        center, sizes = center.transpose(2, 0, 1, 3), sizes.transpose(2, 0, 1, 3)
    codes = e.reshape(e.bottoms[1], (items, count, 4, rows, columns))
    codes = e.op("Transpose", codes, perm=[0, 1, 3, 4, 2] if late else [0, 3, 4, 1, 2])
    codes = e.reshape(codes, (items, count * rows * columns, 4))
    of_anchors = e.const(sizes.reshape(1, -1, 2), what="anchor_sizes")
    shift = e.op("Mul", e.slice(codes, [0], [2], [-1]), of_anchors)
    middle = e.op("Add", shift, e.const(center.reshape(1, -1, 2), what="anchor_centers"))
    reach = e.op("Mul", e.op("Exp", e.slice(codes, [2], [4], [-1])), of_anchors)
    reach = e.op("Mul", reach, e.const(0.5, what="half"))
    boxes = e.op("Concat", e.op("Sub", middle, reach), e.op("Add", middle, reach), axis=-1)
    limit = e.op("Sub", e.op("Gather", info, e.ints([1, 0, 1, 0], "sides"), axis=1), e.const(1, what="one"))
    boxes = e.op("Min", boxes, e.op("Unsqueeze", limit, e.ints([1])))
    return e.op("Max", boxes, e.const(0, what="zero"))


def _best(e: Emission, scores: str, count: int) -> tuple[str, str]:
    """The `count` greatest of each row, falling, and their places."""
    best, order = (e.builder.value_name(f"{e.name}/{part}") for part in ("best", "order"))
    e.builder.add("TopK", [scores, e.ints([count], "top_k")], [best, order], f"{e.name}/TopK", axis=1)
    return best, order


def _flat(e: Emission, order: str, items: int, total: int) -> str:
    """Places in each item's list as places in all lists one after the other."""
    return e.op("Add", order, e.ints(np.arange(items)[:, None] * total, "first")) if items > 1 else order


def _suppress(e: Emission, boxes: str, valid: str, shape: tuple[int, int], most: int, overlap: float) -> str:
    """Which boxes (N, K, 4), in order of falling score, stay: rows [item, place] in that order, (R, 2) int64."""
    items, count = shape
    # What goes before what is decided already: ranks in the place of scores, which may be equal.
    ranks = e.const(np.arange(count, 0, -1)[None], what="ranks")
    ranks = e.op("Where", valid, ranks, e.const(-1, what="invalid"))
    selected = e.op(
        "NonMaxSuppression", boxes, e.reshape(ranks, (items, 1, count)), e.ints([min(most, count)], "most"),
        e.const([overlap], what="overlap"), e.const([0.5], what="threshold"),
    )  # fmt: skip
    where = e.op("Gather", selected, e.ints([0, 2], "item_and_place"), axis=1)
    ones = e.op("Expand", e.ints([1], "yes"), e.slice(e.op("Shape", where), [0], [1], [0]))
    marked = e.op("ScatterND", e.ints(np.zeros(shape), "none_kept"), where, ones)
    return e.op("Transpose", e.op("NonZero", marked), perm=[1, 0])


# ------------------------------------------------------------------------------------------------------ YOLO


@emits("YoloDetectionOutput")
def yolo(e: Emission) -> None:
    """Each box with its likeliest class."""
    _check_opset(e)
    p = e.module.param.yolo_detection_output_param
    parts = []
    for bottom, shape in zip(e.bottoms, e.bottom_shapes, strict=True):
        sizes = np.reshape(list(p.biases)[: 2 * p.num_box], (-1, 2)) / [shape[3], shape[2]]
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
    _check_opset(e)
    p = e.module.param.yolov3_detection_output_param
    pairs, parts = np.reshape(list(p.biases), (-1, 2)), []
    for number, (bottom, shape) in enumerate(zip(e.bottoms, e.bottom_shapes, strict=True)):
        mask = list(p.mask)[number * p.num_box : (number + 1) * p.num_box]
        sizes = pairs[mask] / (np.array([shape[3], shape[2]]) * p.anchors_scale[number])
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
    best, order = _best(e, scores, count)
    valid = e.op("GatherElements", e.cast(valid, np.float32), order, axis=1)
    box = e.op("Div", order, e.ints(each, "classes")) if each > 1 else order
    found = e.op("Gather", e.reshape(boxes, (items * total, 4)), _flat(e, box, items, total), axis=0)
    below = float(np.nextafter(np.float32(e.module.overlap), np.float32(-np.inf)))  # reaching it suppresses
    place = _suppress(e, found, e.cast(valid, bool), (items, count), count, below)
    if labels is None:
        label = e.op("Sub", order, e.op("Mul", box, e.ints(each, "classes"))) if each > 1 else e.op("Sub", order, order)
    else:
        label = e.op("GatherElements", labels, order, axis=1)
    label = e.op("Add", e.op("GatherND", label, place), e.ints(1, "one"))
    image, score = e.slice(place, [0], [1], [1]), e.op("GatherND", best, place)
    label, score = (e.op("Unsqueeze", column, e.ints([1])) for column in (e.cast(label, np.float32), score))
    rows = e.op("Concat", e.cast(image, np.float32), label, score, e.op("GatherND", found, place), axis=1)
    finish_rows(e, rows, items)


@emits("BoxAnnotatorOHEM", "MarginInnerProduct")
def trains(e: Emission) -> None:
    raise Cannot("reads labels, which there are in training alone; make a deploy prototxt first (export deploy)")
