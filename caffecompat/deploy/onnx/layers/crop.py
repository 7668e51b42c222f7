"""ONNX of Crop."""

from __future__ import annotations

from caffecompat.deploy.onnx.emission import Emission, emits


@emits("AutoCrop", "Crop")
def crop(e: Emission) -> None:
    """Slice at constant places; the reference's shape is known."""
    if e.shape == e.top_shapes[0]:
        e.alias(0, e.bottoms[0])
        return
    offsets = e.module.offsets
    axes = list(range(e.module.axis, len(e.shape)))
    ends = [offset + e.top_shapes[0][axis] for axis, offset in zip(axes, offsets, strict=True)]
    e.slice(e.bottoms[0], offsets, ends, axes, e.tops[0])
