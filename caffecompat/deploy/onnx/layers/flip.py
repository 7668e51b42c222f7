"""ONNX of Flip and Reverse."""

from __future__ import annotations

from caffecompat.deploy.onnx.emission import Emission, emits


@emits("Flip", "Reverse")
def flip(e: Emission) -> None:
    """A Gather from the last to the first along each axis."""
    value, axes = e.bottoms[0], e.module.axes
    for axis in axes:
        backwards = e.ints(range(e.shape[axis] - 1, -1, -1), f"backwards{axis}")
        value = e.op("Gather", value, backwards, to=e.tops[0] if axis == axes[-1] else None, axis=axis)
    if not axes:
        e.alias(0, value)
