"""ONNX of Scale and Bias."""

from __future__ import annotations

from caffecompat.deploy.onnx.emission import Emission, emits


@emits("Scale")
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
    """The blob or the second bottom, with axes of size 1 after it so that it broadcasts."""
    axis = e.module.axis
    if len(e.bottoms) == 1:
        behind = len(e.shape) - axis - e.parameters[blob].ndim
        return e.parameter(blob, lambda b: b.reshape(b.shape + (1,) * behind))
    shape = e.bottom_shapes[1]
    behind = len(e.shape) - axis - len(shape)
    return e.reshape(e.bottoms[1], (*shape, *[1] * behind)) if behind else e.bottoms[1]
