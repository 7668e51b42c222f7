"""Shapes of all values of a net, and which layer cannot work on those that it gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from caffecompat.errors import CaffeCompatError, notes
from caffecompat.layers import LayerError
from caffecompat.net.layer import NetLayer, Shape, Value
from caffecompat.net.meta import run_on_meta

__all__ = ["TORCH_REFUSES", "infer_shapes", "made_shapes", "refusal", "top_shapes"]

TORCH_REFUSES = (RuntimeError, ValueError, ArithmeticError, IndexError, NotImplementedError)


def refusal(problem: Exception, bottoms: Sequence[Shape]) -> str:
    """What torch cannot do that a prototxt asks for: negative sizes, shapes that do not fit together."""
    given = ", ".join(map(str, bottoms)) or "none"
    return f"cannot work on bottoms of shape {given}: {'too few axes' if isinstance(problem, IndexError) else problem}"


def made_shapes(layer: NetLayer, bottoms: Sequence[Shape]) -> list[Shape]:
    """Shapes of a layer's tops for bottoms of those shapes."""
    assert layer.module is not None
    made = run_on_meta(layer.module, bottoms)
    tops = made if isinstance(made, tuple) else (made,) if layer.tops else ()
    if len(tops) != len(layer.tops):
        raise CaffeCompatError(f"makes {len(tops)} tops, the prototxt names {len(layer.tops)}")
    return [tuple(top.shape) for top in tops]


def infer_shapes(layers: Sequence[NetLayer], fed: dict[str, Shape]) -> dict[Value, Shape]:
    """Shapes of all values when the blobs in `fed` come in other shapes than the prototxt or the first batch says.

    Raises:
        CaffeCompatError: a layer cannot work on what it gets then; it names the layer and its type.
    """
    shapes: dict[Value, Shape] = {}
    for layer in layers:
        if layer.module is not None:
            tops = top_shapes(layer, [shapes[value] for value in layer.known_bottoms])
        else:
            tops = [fed.get(blob, shape) for blob, shape in zip(layer.tops, layer.fed_shapes, strict=True)]
        shapes.update(zip(layer.top_values, tops, strict=True))
    return shapes


def top_shapes(layer: NetLayer, bottoms: Sequence[Shape]) -> list[Shape]:
    """Shapes of the tops of a layer that was made for bottoms of other shapes.

    Raises:
        CaffeCompatError: it cannot work on these; its name and type are said.
    """
    head = f"layer {layer.name!r} ({layer.type}): "
    try:
        tops = made_shapes(layer, bottoms)
        if any(0 in top for top in tops) and not any(0 in bottom for bottom in bottoms):
            objection = _objection(layer, bottoms)
            if objection:
                raise LayerError(objection)
        return tops
    except CaffeCompatError as problem:
        raise CaffeCompatError(head + str(problem).removeprefix(head)) from None
    except TORCH_REFUSES as problem:
        if notes(problem):  # it comes from a Python layer's code, and says so
            raise
        raise CaffeCompatError(head + (_objection(layer, bottoms) or refusal(problem, bottoms))) from None


def _objection(layer: NetLayer, bottoms: Sequence[Shape]) -> str:
    """What rules these bottoms out by the layer's class, or by the shapes of its parameters; "" for nothing."""
    assert layer.module is not None
    try:
        other = type(layer.module)(layer.param, bottoms, replace(layer.module.context, fill=False))
    except LayerError as problem:
        return str(problem)
    except TORCH_REFUSES:
        return ""
    have, need = ([tuple(blob.shape) for blob in module.blobs] for module in (layer.module, other))
    if have == need:
        return ""
    given = ", ".join(map(str, bottoms))
    return (
        f"its parameters are of shape {', '.join(map(str, have))}, bottoms of shape {given} need "
        f"{', '.join(map(str, need))}; the net was made for other inputs"
    )
