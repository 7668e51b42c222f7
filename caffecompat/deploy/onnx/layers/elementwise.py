"""ONNX of Eltwise and Axpy."""

from __future__ import annotations

from caffecompat.deploy.onnx.emission import Emission, emits


@emits("Eltwise")
def eltwise(e: Emission) -> None:
    """A chain of Add, Mul or Max of two values; coefficients are products before it."""
    m, values = e.module, list(e.bottoms)
    op = {"SUM": "Add", "PROD": "Mul", "MAX": "Max"}[m.operation]
    if m.operation == "SUM":
        if len(values) == 2 and m.coeffs == [1.0, -1.0]:
            op = "Sub"
        else:
            values = [e.scaled(value, coeff, 0) for value, coeff in zip(values, m.coeffs, strict=True)]
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
