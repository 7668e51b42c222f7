"""ONNX of InnerProduct."""

from __future__ import annotations

import math

from caffecompat.deploy.onnx.emission import Emission, emits


@emits("InnerProduct")
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
