"""ONNX of Concat and Slice."""

from __future__ import annotations

from caffecompat.deploy.onnx.emission import Emission, emits


@emits("Concat")
def concat(e: Emission) -> None:
    """Concat; of one bottom nothing."""
    if len(e.bottoms) == 1:
        e.alias(0, e.bottoms[0])
    else:
        e.op("Concat", *e.bottoms, to=e.tops[0], axis=e.module.axis)


@emits("Slice")
def slice_(e: Emission) -> None:
    """Split; of one top nothing."""
    if len(e.tops) == 1:
        e.alias(0, e.bottoms[0])
        return
    sizes = e.ints([shape[e.module.axis] for shape in e.top_shapes], "sizes")
    e.builder.add("Split", [e.bottoms[0], sizes], e.tops, e.name, axis=e.module.axis)
