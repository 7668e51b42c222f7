"""ONNX of ROIPooling and PSROIPooling."""

from __future__ import annotations

import numpy as np

from caffecompat.deploy.onnx.box_selection import check_opset
from caffecompat.deploy.onnx.emission import Emission, UnsupportedLayer, emits

_LAST_ROI_POOL = 21


@emits("ROIPooling")
def roi_pooling(e: Emission) -> None:
    """MaxRoiPool, which is Fast R-CNN's."""
    if e.builder.opset > _LAST_ROI_POOL:
        raise UnsupportedLayer(
            f"onnxruntime has MaxRoiPool up to opset {_LAST_ROI_POOL}; ask for that or an older one (--opset)"
        )
    cells, scale = list(e.module.cells), float(e.module.scale)
    e.op("MaxRoiPool", e.bottoms[0], _regions(e), to=e.tops[0], pooled_shape=cells, spatial_scale=scale)


def _regions(e: Emission) -> str:
    return e.bottoms[1] if len(e.bottom_shapes[1]) == 2 else e.reshape(e.bottoms[1], (-1, 5))


@emits("PSROIPooling")
def psroi_pooling(e: Emission) -> None:
    """Differences of sums over rectangles, which CumSum gives, in double precision."""
    check_opset(e)
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
