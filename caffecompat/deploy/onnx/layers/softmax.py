"""ONNX of Softmax."""

from __future__ import annotations

import math

from caffecompat.deploy.onnx.emission import Emission, emits


@emits("Softmax")
def softmax(e: Emission) -> None:
    """Softmax; before opset 13, where it goes over all axes from one on, with the axis in the last place."""
    axis, rank = e.module.axis % len(e.shape), len(e.shape)
    if e.builder.opset >= 13 or math.prod(e.shape[axis + 1 :]) == 1:
        e.op("Softmax", e.bottoms[0], to=e.tops[0], axis=axis)
        return
    order = [*range(axis), *range(axis + 1, rank), axis]
    turned = e.op("Softmax", e.op("Transpose", e.bottoms[0], perm=order), axis=rank - 1)
    e.op("Transpose", turned, to=e.tops[0], perm=[order.index(at) for at in range(rank)])
