"""Operators in the forms that they had before opset 13: emitters write opset 13's, `in_opset` gives an older one.

What became an input later was an attribute before (Slice's places, Clip's limits, ...), and what did not exist is said
by other operators where that is possible. Source: onnx/docs/Changelog.md, which has each operator in every opset.
Rewrites that need a shape are the emitters' own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from caffecompat.deploy.emitters import UnsupportedLayer

if TYPE_CHECKING:
    from caffecompat.deploy.onnx.graph import GraphBuilder

__all__ = ["FORMS", "MODERN", "NodeForm", "in_opset"]

MODERN = 13  # the opset whose forms emitters write


@dataclass(frozen=True)
class NodeForm:
    """A node before it is made: its operator, its inputs by name, its attributes, and its name (a wish)."""

    operator: str
    inputs: Sequence[str]
    attributes: Mapping[str, object]
    name: str


_Older = Callable[["GraphBuilder", NodeForm], NodeForm]


def in_opset(builder: GraphBuilder, form: NodeForm) -> NodeForm:
    """A node as the builder's opset has it; nodes that it needs before it are added.

    Raises:
        UnsupportedLayer: that opset cannot say it.
    """
    since, older, _ = FORMS.get(form.operator, (0, _same, ""))
    return older(builder, form) if builder.opset < since else form


def _same(builder: GraphBuilder, form: NodeForm) -> NodeForm:
    return form


def _values(builder: GraphBuilder, form: NodeForm, place: int) -> Any:
    """The value of an input that older opsets have as an attribute; None where it is left out."""
    if place >= len(form.inputs) or not form.inputs[place]:
        return None
    known = builder.known(form.inputs[place])
    if known is None:
        raise UnsupportedLayer(
            f"opset {builder.opset} knows {form.operator} with constant settings only, here they are computed"
        )
    return known.tolist()


def _with_attributes(**places: int) -> _Older:
    """Attributes in the place of inputs: name and which input."""

    def older(builder: GraphBuilder, form: NodeForm) -> NodeForm:
        given = {name: _values(builder, form, place) for name, place in places.items()}
        inputs = [name for place, name in enumerate(form.inputs) if place not in places.values()]
        return replace(form, inputs=inputs, attributes={**form.attributes, **given})

    return older


def _without(**defaults: Any) -> _Older:
    """Without attributes that an older opset does not have, which then mean `defaults`."""

    def older(builder: GraphBuilder, form: NodeForm) -> NodeForm:
        for name, default in defaults.items():
            if form.attributes.get(name, default) != default:
                raise UnsupportedLayer(
                    f"opset {builder.opset} knows no {form.operator} with {name}={form.attributes[name]}"
                )
        kept = {name: value for name, value in form.attributes.items() if name not in defaults}
        return replace(form, attributes=kept)

    return older


def _top_k(builder: GraphBuilder, form: NodeForm) -> NodeForm:
    plain = _without(largest=1, sorted=1)(builder, form)
    if builder.opset >= 10:
        return plain
    (count,) = _values(builder, form, 1)
    return replace(form, inputs=form.inputs[:1], attributes={**plain.attributes, "k": count})


def _gemm(builder: GraphBuilder, form: NodeForm) -> NodeForm:
    """Whose last input could not be left out."""
    if len(form.inputs) > 2:
        return form
    zero = builder.constant(np.zeros(1, np.float32), f"{form.name}/zero")
    return replace(form, inputs=[*form.inputs, zero])


def _mod(builder: GraphBuilder, form: NodeForm) -> NodeForm:
    """a - a / b x b in whole numbers, none below 0."""
    a, b = form.inputs
    whole, multiple = (builder.value_name(f"{form.name}/{part}") for part in ("whole", "multiple"))
    builder.add("Div", [a, b], [whole], f"{form.name}/Div")
    builder.add("Mul", [whole, b], [multiple], f"{form.name}/Mul")
    return replace(form, operator="Sub", inputs=[a, multiple])


def _resize(builder: GraphBuilder, form: NodeForm) -> NodeForm:
    """Whose region and scales could not be left out, but be empty."""
    empty = builder.constant(np.zeros(0, np.float32), f"{form.name}/none")
    return replace(form, inputs=[name or empty for name in form.inputs])


def _scatter(builder: GraphBuilder, form: NodeForm) -> NodeForm:
    """ScatterElements' name before opset 11."""
    return replace(form, operator="Scatter")


# Operator -> the opset from which it has the form that emitters write, how to say it before, and that in words.
FORMS: Mapping[str, tuple[int, _Older, str]] = {
    "Clip": (11, _with_attributes(min=1, max=2), "limits are attributes"),
    "DepthToSpace": (11, _without(mode="DCR"), "depth-column-row order alone; the other is a Transpose"),
    "Gemm": (11, _gemm, "the third input cannot be left out: a zero"),
    "Mod": (10, _mod, "there is none: Div, Mul and Sub of whole numbers"),
    "Pad": (11, _with_attributes(pads=1, value=2), "margins and value are attributes"),
    "ReduceSum": (13, _with_attributes(axes=1), "axes are an attribute"),
    "Resize": (
        13,
        _resize,
        "region and scales cannot be left out: empty ones (before 11 there is no Resize, see below)",
    ),
    "ScatterElements": (11, _scatter, "named Scatter"),
    "Slice": (10, _with_attributes(starts=1, ends=2, axes=3), "places are attributes"),
    "Split": (13, _with_attributes(split=1), "sizes are an attribute"),
    "Squeeze": (13, _with_attributes(axes=1), "axes are an attribute"),
    "TopK": (11, _top_k, "largest and sorted cannot be asked for (they are what it does); before 10 k is an attribute"),
    "Unsqueeze": (13, _with_attributes(axes=1), "axes are an attribute"),
}
