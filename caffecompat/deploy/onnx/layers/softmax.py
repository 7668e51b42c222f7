"""ONNX of Softmax."""

from __future__ import annotations

import math

from caffecompat.deploy.onnx.emission import Emission, emits


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
