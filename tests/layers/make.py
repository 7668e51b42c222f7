"""Layers from prototxt text, without a net."""

from __future__ import annotations

from collections.abc import Sequence

from caffecompat.forks import Fork
from caffecompat.layers import Context, Layer, layer_class
from caffecompat.schema import parse_text, pb


def make_layer(text: str, *bottom_shapes: Sequence[int], phase: int = pb.TRAIN, fork: Fork = Fork.BVLC) -> Layer:
    """The layer of the text ``type: "..." ...`` over bottoms of those shapes.

    Bottoms that it does not name are called b0, b1, ...; it has one top unless it names some or may have none.
    """
    param = parse_text(text, pb.LayerParameter())
    cls = layer_class(param.type)
    assert cls is not None, f"no class implements {param.type}"
    if not param.bottom:
        param.bottom.extend(f"b{index}" for index in range(len(bottom_shapes)))
    if not param.top and cls.tops[1] != 0:
        param.top.append("top")
    return cls(param, [tuple(shape) for shape in bottom_shapes], Context(phase, fork))
