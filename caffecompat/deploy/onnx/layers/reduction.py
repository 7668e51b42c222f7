"""ONNX of ArgMax and Reduction."""

from __future__ import annotations

import math

import numpy as np

from caffecompat.deploy.onnx.emission import Emission, emits


@emits("ArgMax")
def arg_max(e: Emission) -> None:
    """ArgMax that takes the last of equals, or TopK of the values read backwards."""
    m = e.module
    if m.axis is not None:
        values, index = _largest(e, e.bottoms[0], e.shape[m.axis], m.axis)
        e.op("Identity", values, to=e.tops[0]) if m.with_values else e.cast(index, np.float32, to=e.tops[0])
        return
    flat = e.bottoms[0] if len(e.shape) == 2 else e.op("Flatten", e.bottoms[0], axis=1)
    values, index = _largest(e, flat, math.prod(e.shape[1:]), 1)
    found = e.cast(index, np.float32)
    if m.with_values:
        n = e.shape[0]
        pair = [e.reshape(found, (n, 1, m.top_k)), e.reshape(values, (n, 1, m.top_k))]
        found = e.op("Concat", *pair, axis=1)
    e.reshape(found, e.top_shapes[0], e.tops[0])


def _largest(e: Emission, value: str, size: int, axis: int) -> tuple[str, str]:
    """The greatest values along the axis, and their indices (int64); of the two, only what is needed is made."""
    m = e.module
    if m.top_k == 1:
        values = e.reduce("ReduceMax", value, [axis]) if m.with_values else ""
        if m.with_values and m.axis is not None:
            return values, ""
        if e.builder.opset >= 12:
            return values, e.op("ArgMax", value, axis=axis, keepdims=1, select_last_index=1)
        backwards = e.op("Gather", value, e.ints(np.arange(size)[::-1], "backwards"), axis=axis)
        place = e.op("ArgMax", backwards, axis=axis, keepdims=1)
        return values, e.op("Sub", e.ints(size - 1, "last"), place)
    backwards = e.op("Gather", value, e.ints(np.arange(size)[::-1], "backwards"), axis=axis)
    values, places = (e.builder.value_name(f"{e.name}/{part}") for part in ("values", "places"))
    count = e.ints([m.top_k], "top_k")
    e.builder.add("TopK", [backwards, count], [values, places], f"{e.name}/TopK", axis=axis, largest=1, sorted=1)
    return values, e.op("Sub", e.ints(size - 1, "last"), places)


@emits("Reduction")
def reduction(e: Emission) -> None:
    """ReduceSum, ReduceL1, ReduceSumSquare or ReduceMean, and a product for the coefficient."""
    m = e.module
    op = {"SUM": "ReduceSum", "ASUM": "ReduceL1", "SUMSQ": "ReduceSumSquare", "MEAN": "ReduceMean"}[m.operation]
    axes = range(m.axis, len(e.shape))
    plain = m.coeff == 1
    total = e.reduce(op, e.bottoms[0], axes, keep=False, to=e.tops[0] if plain else None)
    if not plain:
        e.scaled(total, m.coeff, 0, e.tops[0])
