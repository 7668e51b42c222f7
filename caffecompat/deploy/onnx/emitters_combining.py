"""ONNX of the layers that combine values: products, sums, softmax, choices, sums along axes."""

from __future__ import annotations

import math

import numpy as np

from caffecompat.deploy.onnx.emission import Emission, emits


@emits("InnerProduct", "InnerProductFixed")
def inner_product(e: Emission) -> None:
    """Flatten and Gemm."""
    m = e.module
    rows, value = math.prod(e.shape[: m.axis]), e.bottoms[0]
    if len(e.shape) != 2 or m.axis != 1:
        if m.axis == 1:
            value = e.op("Flatten", value, axis=1)
        else:
            value = e.reshape(value, (rows, m.inputs))
    inputs = [value, e.parameter("weight")] + ([e.parameter("bias")] if m.bias is not None else [])
    direct = len(e.top_shapes[0]) == 2
    made = e.op("Gemm", *inputs, to=e.tops[0] if direct else None, transB=0 if m.transpose else 1)
    if not direct:
        e.reshape(made, e.top_shapes[0], e.tops[0])


@emits("Eltwise")
def eltwise(e: Emission) -> None:
    """A chain of Add, Mul or Max of two values; coefficients are products before it."""
    m, values = e.module, list(e.bottoms)
    op = {"SUM": "Add", "PROD": "Mul", "MAX": "Max"}[m.operation]
    if m.operation == "SUM":
        if len(values) == 2 and m.coeffs == [1.0, -1.0] and not e.target:
            op = "Sub"
        else:
            values = [e.scaled(value, coeff, 0) for value, coeff in zip(values, m.coeffs, strict=True)]
            if e.target and any(coeff != 1 for coeff in m.coeffs):
                e.note("coefficients other than 1 became Mul with constants")
    total = values[0]
    for at, value in enumerate(values[1:], 2):
        total = e.op(op, total, value, to=e.tops[0] if at == len(values) else None)
    if len(values) == 1:
        e.alias(0, total)


@emits("Axpy")
def axpy(e: Emission) -> None:
    """a x + y."""
    factor, x, y = e.bottoms
    shape = (*e.bottom_shapes[1][:2], *[1] * (len(e.bottom_shapes[1]) - 2))
    if e.shape != shape:
        factor = e.reshape(factor, shape)
    e.op("Add", e.op("Mul", factor, x), y, to=e.tops[0])


@emits("Scale", "ScaleFixed")
def scale(e: Emission) -> None:
    """Mul, and Add for a bias."""
    bias = e.module.bias is not None
    product = e.op("Mul", e.bottoms[0], _operand(e, "scale"), to=None if bias else e.tops[0])
    if bias:
        behind = len(e.shape) - e.module.axis - e.parameters["bias"].ndim
        term = e.parameter("bias", lambda b: b.reshape(b.shape + (1,) * behind))
        e.op("Add", product, term, to=e.tops[0])


@emits("Bias")
def bias(e: Emission) -> None:
    """Add."""
    e.op("Add", e.bottoms[0], _operand(e, "bias"), to=e.tops[0])


def _operand(e: Emission, blob: str) -> str:
    """The blob or the second bottom, with axes of size 1 behind it so that it broadcasts."""
    axis = e.module.axis
    if len(e.bottoms) == 1:
        behind = len(e.shape) - axis - e.parameters[blob].ndim
        return e.parameter(blob, lambda b: b.reshape(b.shape + (1,) * behind))
    shape = e.bottom_shapes[1]
    behind = len(e.shape) - axis - len(shape)
    return e.reshape(e.bottoms[1], (*shape, *[1] * behind)) if behind else e.bottoms[1]


@emits("Softmax")
def softmax(e: Emission) -> None:
    """Softmax; where the opset (before 13) or TIDL lacks it along that axis, with the axis in the last place."""
    axis, rank = e.module.axis % len(e.shape), len(e.shape)
    if e.builder.opset < 13:  # where it goes over all axes from this one on
        direct = math.prod(e.shape[axis + 1 :]) == 1
    else:
        direct = e.target != "tidl" or axis == rank - 1 or (axis, rank) == (2, 4)
    if direct:
        e.op("Softmax", e.bottoms[0], to=e.tops[0], axis=axis)
        return
    order = [*range(axis), *range(axis + 1, rank), axis]
    turned = e.op("Softmax", e.op("Transpose", e.bottoms[0], perm=order), axis=rank - 1)
    e.op("Transpose", turned, to=e.tops[0], perm=[order.index(at) for at in range(rank)])
    if e.target == "tidl":
        e.note(f"softmax along axis {axis} of {rank} is put between two transposes: TIDL has it along width and height")


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
        last = 0 if e.target == "tidl" else 1
        if e.target == "tidl":
            e.note("of equal scores TIDL's ArgMax takes the first, Caffe's the last", exact=False)
        if m.with_values and m.axis is not None:
            return values, ""
        if e.builder.opset >= 12:
            return values, e.op("ArgMax", value, axis=axis, keepdims=1, select_last_index=last)
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
