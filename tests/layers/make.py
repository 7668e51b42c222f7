"""Layers from prototxt text, without a net."""

from __future__ import annotations

from collections.abc import Sequence

from caffecompat.layers import Context, Layer, layer_class
from caffecompat.schema import parse_text, pb


def make_layer(text: str, *bottom_shapes: Sequence[int], phase: int = pb.TRAIN, dialect: str = "B") -> Layer:
    """The layer of the text ``type: "..." ...`` over bottoms of those shapes; one top unless it names some."""
    param = parse_text(text, pb.LayerParameter())
    if not param.top:
        param.top.append("top")
    cls = layer_class(param.type)
    assert cls is not None, f"no class implements {param.type}"
    return cls(param, [tuple(shape) for shape in bottom_shapes], Context(phase, dialect))
