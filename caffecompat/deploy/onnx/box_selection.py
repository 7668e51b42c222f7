"""The best of many boxes in standard operators of ONNX: the greatest scores, and suppression of overlaps."""

from __future__ import annotations

import numpy as np

from caffecompat.deploy.onnx.emission import Emission, UnsupportedLayer

_FIRST = 12


def check_opset(e: Emission) -> None:
    """Before 11 there is neither CumSum nor GatherND, before 12 no greater of two whole numbers."""
    if e.builder.opset < _FIRST:
        lacks = "no greater of two whole numbers (Max)" if e.builder.opset == 11 else "neither CumSum nor GatherND"
        raise UnsupportedLayer(f"opset {e.builder.opset} has {lacks}")


def best_scores(e: Emission, scores: str, count: int) -> tuple[str, str]:
    """The `count` greatest of each row, falling, and their places."""
    best, order = (e.builder.value_name(f"{e.name}/{part}") for part in ("best", "order"))
    e.builder.add("TopK", [scores, e.ints([count], "top_k")], [best, order], f"{e.name}/TopK", axis=1)
    return best, order


def flat_places(e: Emission, order: str, items: int, total: int) -> str:
    """Places in each item's list as places in all lists one after the other."""
    return e.op("Add", order, e.ints(np.arange(items)[:, None] * total, "first")) if items > 1 else order


def suppress(e: Emission, boxes: str, valid: str, shape: tuple[int, int], most: int, overlap: float) -> str:
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
