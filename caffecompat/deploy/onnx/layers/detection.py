"""ONNX of SSD's DetectionOutput: decoding, NonMaxSuppression and the choice of the best, in standard operators.

The rows come as the layer makes them: ordered by image, class and falling score, and where nothing is found a row
[image, -1, -1, ...] for each image. Their number depends on values, so that axis of the output has no static size.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from caffecompat.deploy.onnx.emission import Emission, UnsupportedLayer, emits

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

_LOWEST = float(np.finfo(np.float32).min)


_TINY = float(np.finfo(np.float32).tiny)


_MOST_PAIRS = 2**26


@emits("DetectionOutput")
def detection_output(e: Emission) -> None:
    """See the module."""
    m = e.module
    p = m.param.detection_output_param
    if m.passes_map:
        e.alias(1, e.bottoms[3])
    images, priors = e.shape[0], e.bottom_shapes[2][2] // 4
    classes = [c for c in range(m.classes) if c != p.background_label_id]
    lists = images * len(classes)
    boxes = _decode(e, images, priors)
    count = min(m.top_k, priors) if m.top_k >= 0 else priors
    scores, places = _candidates(e, images, priors, classes, count)
    found = e.op("Gather", boxes, _box_index(e, places, images, priors, classes), axis=0)  # (lists, count, 4)
    adapts = p.nms_param.eta != 1 and p.nms_param.nms_threshold > 0.5
    by_scan = adapts or e.builder.opset < 10  # which has no NonMaxSuppression
    kept = (_suppress_by_scan if by_scan else _suppress)(e, found, scores, lists, count)
    _rows(e, kept, found, scores, images, classes, count)


def _decode(e: Emission, images: int, priors: int) -> str:
    """All boxes: (images x priors x location classes, 4)."""
    m = e.module
    p = m.param.detection_output_param
    kinds = m.location_classes
    prior = e.reshape(e.bottoms[2], (2, priors, 1, 4))
    corners = e.reshape(e.slice(prior, [0], [1], [0]), (1, priors, 1, 4))
    codes = e.reshape(e.bottoms[0], (images, priors, kinds, 4))
    if not p.variance_encoded_in_target:
        codes = e.op("Mul", codes, e.reshape(e.slice(prior, [1], [2], [0]), (1, priors, 1, 4)))
    if m.code == "CORNER":
        boxes = e.op("Add", corners, codes)
    else:
        low, high = e.slice(corners, [0], [2], [3]), e.slice(corners, [2], [4], [3])
        size = e.op("Sub", high, low)
        if m.code == "CORNER_SIZE":
            boxes = e.op("Add", corners, e.op("Mul", codes, e.op("Concat", size, size, axis=3)))
        else:
            half = e.const(0.5, what="half")
            center = e.op("Mul", e.op("Add", low, high), half)
            shift, growth = e.slice(codes, [0], [2], [3]), e.slice(codes, [2], [4], [3])
            center = e.op("Add", e.op("Mul", shift, size), center)
            reach = e.op("Mul", e.op("Mul", e.op("Exp", growth), size), half)
            boxes = e.op("Concat", e.op("Sub", center, reach), e.op("Add", center, reach), axis=3)
    return e.reshape(boxes, (images * priors * kinds, 4))


def _candidates(e: Emission, images: int, priors: int, classes: list[int], count: int) -> tuple[str, str]:
    """Scores of the `count` best of each image and class, falling, and their priors: (lists, count) each."""
    scores = e.op("Transpose", e.reshape(e.bottoms[1], (images, priors, e.module.classes)), perm=[0, 2, 1])
    if len(classes) < e.module.classes:
        scores = e.op("Gather", scores, e.ints(classes, "classes"), axis=1)
    scores = e.reshape(scores, (images * len(classes), priors))
    best, places = (e.builder.value_name(f"{e.name}/{part}") for part in ("best", "places"))
    e.builder.add("TopK", [scores, e.ints([count], "top_k")], [best, places], f"{e.name}/TopK", axis=1)
    return best, places


def _box_index(e: Emission, places: str, images: int, priors: int, classes: list[int]) -> str:
    """Which row of the boxes each candidate is."""
    kinds = e.module.location_classes
    image = np.repeat(np.arange(images), len(classes)) * priors * kinds
    kind = np.tile(classes, images) if kinds > 1 else 0
    index = e.op("Mul", places, e.ints(kinds, "kinds")) if kinds > 1 else places
    return e.op("Add", index, e.ints((image + kind)[:, None], "first_box"))


def _suppress(e: Emission, boxes: str, scores: str, lists: int, count: int) -> str:
    """Which candidates stay: (lists, count) bool."""
    m = e.module
    nms = m.param.detection_output_param.nms_param
    if m.code != "CENTER_SIZE":
        # Codes of corners can turn a box inside out: Caffe gives it no area, ONNX would turn it back.
        low, high = e.slice(boxes, [0], [2], [2]), e.slice(boxes, [2], [4], [2])
        boxes = e.op("Concat", low, e.op("Max", low, high), axis=2)
    selected = e.op(
        "NonMaxSuppression", boxes, e.reshape(scores, (lists, 1, count)), e.ints([count], "most"),
        e.const([nms.nms_threshold], what="overlap"), e.const([_least_score(e)], what="threshold"),
    )  # fmt: skip
    where = e.op("Gather", selected, e.ints([0, 2], "list_and_place"), axis=1)
    ones = e.op("Expand", e.ints([1], "one"), e.slice(e.op("Shape", where), [0], [1], [0]))
    if e.builder.opset >= 11:
        marked = e.op("ScatterND", e.ints(np.zeros((lists, count)), "none"), where, ones)
    else:
        flat = e.op("ScatterElements", e.ints(np.zeros(lists * count), "none"), _flat(e, where, count), ones, axis=0)
        marked = e.reshape(flat, (lists, count))
    return e.op("Equal", marked, e.ints(1, "yes"))


def _flat(e: Emission, places: str, count: int) -> str:
    """Places (found, 2) in a table of `count` columns, counted through its rows: (found)."""
    return e.reduce("ReduceSum", e.op("Mul", places, e.ints([count, 1], "row_and_column")), [1], keep=False)


def _taken(e: Emission, values: str, shape: tuple[int, ...], place: str) -> str:
    """The values at places (found, 2) of the first two axes."""
    if e.builder.opset >= 11:
        return e.op("GatherND", e.reshape(values, shape), place)
    return e.op("Gather", e.reshape(values, (shape[0] * shape[1], *shape[2:])), _flat(e, place, shape[1]), axis=0)


def _least_score(e: Emission) -> float:
    return float(e.module.threshold) if math.isfinite(e.module.threshold) else _LOWEST


def _suppress_by_scan(e: Emission, boxes: str, scores: str, lists: int, count: int) -> str:
    """As `_suppress`, with `eta` below 1, which lowers the threshold after every box that stays while it is above 0.5.

    NonMaxSuppression has one threshold for all (and is not in opset 9), so a Scan goes through the
    candidates of all lists at once.
    """
    nms = e.module.param.detection_output_param.nms_param
    if lists * count**2 > _MOST_PAIRS:
        why = f"eta {nms.eta:g}" if nms.eta != 1 else f"opset {e.builder.opset}, without NonMaxSuppression,"
        remedy = " or eta to 1," if nms.eta != 1 else ""
        raise UnsupportedLayer(
            f"{why} needs each of {count} candidates compared with each other, {lists} times; set nms_param's top_k "
            f"(400, say),{remedy} or use --cut-detection"
        )
    overlaps = _overlaps(e, boxes)
    valid = e.op("Greater", e.reshape(scores, (lists, count, 1)), e.const(_least_score(e), what="threshold"))
    none = e.const(np.zeros((lists, count)), bool, "none_kept")
    limit = e.const(np.full((lists, 1), nms.nms_threshold), what="overlap")
    kept, last = (e.builder.value_name(f"{e.name}/{part}") for part in ("kept", "last_overlap"))
    e.builder.add(
        "Scan", [none, limit, overlaps, e.const(np.eye(count), bool, "places"), valid], [kept, last], f"{e.name}/Scan",
        body=_step(e, lists, count, nms.eta), num_scan_inputs=3, scan_input_axes=[1, 0, 1],
    )  # fmt: skip
    return kept


def _overlaps(e: Emission, boxes: str) -> str:
    """Intersection over union of each box with each of its list: (lists, count, count)."""
    zero = e.const(0.0, what="nothing")

    def sides(low: str, high: str, last: int) -> list[str]:
        """Width and height along the last axis, none below 0."""
        size = e.op("Max", e.op("Sub", high, low), zero)
        return [e.slice(size, [axis], [axis + 1], [last]) for axis in (0, 1)]

    low, high = e.slice(boxes, [0], [2], [2]), e.slice(boxes, [2], [4], [2])
    area = e.op("Mul", *sides(low, high, 2))  # (lists, count, 1)
    one, other = e.ints([2], "other_axis"), e.ints([1], "own_axis")
    lows = e.op("Max", e.op("Unsqueeze", low, one), e.op("Unsqueeze", low, other))
    highs = e.op("Min", e.op("Unsqueeze", high, one), e.op("Unsqueeze", high, other))
    shared = e.op("Mul", *sides(lows, highs, 3))
    union = e.op("Sub", e.op("Add", e.op("Unsqueeze", area, one), e.op("Unsqueeze", area, other)), shared)
    ratio = e.op("Div", shared, e.op("Max", union, e.const(_TINY, what="tiny")))
    return e.op("Squeeze", ratio, e.ints([3], "last_axis"))


def _step(e: Emission, lists: int, count: int, eta: float) -> Any:
    """One candidate of each list: it stays where no box that stays overlaps it above the limit."""
    onnx = e.builder.onnx
    names: dict[str, str] = {}

    def name(wish: str) -> str:
        return names.setdefault(wish, e.builder.value_name(f"{e.name}/step/{wish}"))

    def info(wish: str, dtype: DTypeLike, *shape: int) -> Any:
        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return onnx.helper.make_tensor_value_info(name(wish), kind, shape)

    by_input = e.builder.opset >= 13  # axes, of ReduceSum
    axes: dict[str, list[int]] = {} if by_input else {"axes": [1]}
    nodes = [
        onnx.helper.make_node(op, [name(wish) for wish in inputs], [name(output)], name=name(output), **attributes)
        for op, inputs, output, attributes in (
            ("Greater", ["overlap", "limit"], "above", {}),
            ("And", ["above", "kept"], "hits", {}),
            ("Cast", ["hits"], "hit_values", {"to": onnx.TensorProto.FLOAT}),
            ("ReduceSum", ["hit_values", "axis"][: 1 + by_input], "count", {"keepdims": 1} | axes),
            ("Greater", ["count", "zero"], "hit", {}),
            ("Not", ["hit"], "free", {}),
            ("And", ["valid", "free"], "stays", {}),
            ("And", ["stays", "place"], "added", {}),
            ("Or", ["kept", "added"], "kept_now", {}),
            ("Greater", ["limit", "half"], "falls", {}),
            ("And", ["stays", "falls"], "lower", {}),
            ("Mul", ["limit", "eta"], "lowered", {}),
            ("Where", ["lower", "lowered", "limit"], "limit_now", {}),
        )
    ]
    constants = {"axis": np.array([1])} if by_input else {}
    constants |= {"zero": np.float32(0), "half": np.float32(0.5), "eta": np.float32(eta)}
    return onnx.helper.make_graph(
        nodes,
        name("body"),
        [
            info("kept", bool, lists, count), info("limit", np.float32, lists, 1),
            info("overlap", np.float32, lists, count), info("place", bool, count), info("valid", bool, lists, 1),
        ],
        [info("kept_now", bool, lists, count), info("limit_now", np.float32, lists, 1)],
        [onnx.numpy_helper.from_array(np.asarray(values), name(wish)) for wish, values in constants.items()],
    )  # fmt: skip


def _rows(e: Emission, kept: str, boxes: str, scores: str, images: int, classes: list[int], count: int) -> None:
    each = len(classes) * count
    kept, flat = e.reshape(kept, (images, each)), e.reshape(scores, (images, each))
    limit = e.module.param.detection_output_param.keep_top_k
    if 0 <= limit < each:
        kept = _best(e, kept, flat, images, each, limit)
    place = e.op("Transpose", e.op("NonZero", kept), perm=[1, 0])  # (found, 2): image, place among its candidates
    image = e.slice(place, [0], [1], [1])
    own = e.slice(place, [1], [2], [1])
    index = e.op("Div", own, e.ints(count, "count"))
    label = e.op("Gather", e.const(classes, what="labels"), index)
    corners = _taken(e, boxes, (images, each, 4), place)
    score = e.reshape(_taken(e, flat, (images, each), place), (-1, 1))
    rows = e.op("Concat", e.cast(image, np.float32), label, score, corners, axis=1)
    finish_rows(e, rows, images)


def _best(e: Emission, kept: str, scores: str, images: int, each: int, limit: int) -> str:
    """Of what stays, the `limit` best of each image."""
    standing = e.op("Where", kept, scores, e.const(_LOWEST, what="lowest"))
    values, places = (e.builder.value_name(f"{e.name}/{part}") for part in ("kept_scores", "kept_places"))
    e.builder.add("TopK", [standing, e.ints([limit], "keep_top_k")], [values, places], f"{e.name}/TopK", axis=1)
    zeros = e.ints(np.zeros((images, each)), "none_kept")
    chosen = e.op("ScatterElements", zeros, places, e.ints(np.ones((images, limit)), "ones"), axis=1)
    return e.op("And", kept, e.op("Equal", chosen, e.ints(1, "yes")))


def finish_rows(e: Emission, rows: str, images: int) -> None:
    """The top (1, 1, K, 7) of rows, with one for each image where nothing was found in the batch."""
    nothing = np.full((images, 7), -1, np.float32)
    nothing[:, 0] = np.arange(images)
    found = e.slice(e.op("Shape", rows), [0], [1], [0])
    none = e.cast(e.op("Equal", found, e.ints([0], "zero")), np.int64)
    length = e.op("Add", found, e.op("Mul", none, e.ints([images], "images")))
    both = e.op("Concat", rows, e.const(nothing, what="nothing_found"), axis=0)
    if e.builder.opset >= 10:
        made = e.op("Slice", both, e.ints([0], "starts"), length, e.ints([0], "axes"))
    else:  # whose Slice knows constant places only
        taken = e.op(
            "Concat", e.op("Expand", e.ints([1], "one"), found), e.op("Expand", none, e.ints([images])), axis=0
        )
        made = e.op("Gather", both, e.reshape(e.op("NonZero", taken), (-1,)), axis=0)
    e.op("Reshape", made, e.ints([1, 1, -1, 7]), to=e.tops[0])
