"""ONNX of Proposal. How many regions there are depends on values: the first axis has no static size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from caffecompat.deploy.onnx.box_selection import best_scores, check_opset, flat_places, suppress
from caffecompat.deploy.onnx.emission import Emission, emits
from caffecompat.layers.proposal import Proposal, PythonProposal

_LOWEST = float(np.finfo(np.float32).min)


@emits("Proposal")
def proposal(e: Emission) -> None:
    """Boxes, TopK and NonMaxSuppression."""
    proposals(e, e.module)


def proposals(e: Emission, m: Proposal | PythonProposal) -> None:
    """The tops of a layer that proposes regions."""
    check_opset(e)
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
    best, order = best_scores(e, scores, before)
    valid = e.op("Greater", best, e.const(_LOWEST, what="lowest"))
    if late:
        valid = e.cast(e.op("GatherElements", large, order, axis=1), bool)
    found = e.op("Gather", e.reshape(boxes, (items * total, 4)), flat_places(e, order, items, total), axis=0)
    wide = e.op("Add", found, e.const([0, 0, 1, 1], what="width_of_a_pixel")) if rules.inclusive else found
    place = suppress(e, wide, valid, (items, before), rules.after, rules.overlap)
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
