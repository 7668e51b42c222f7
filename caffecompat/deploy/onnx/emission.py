"""What an emitter gets to see and do: one layer of a net, and the ONNX nodes that stand for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from caffecompat.deploy.emitters import Emitters, UnsupportedLayer
from caffecompat.deploy.onnx.fixed_point import as_integers
from caffecompat.deploy.onnx.graph import GraphBuilder

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

__all__ = ["Emission", "Emitter", "Note", "UnsupportedLayer", "emits", "emitter_of", "emitters", "lacks"]

Shape = tuple[int, ...]


@dataclass
class Note:
    """Something that the export did to a layer beyond writing it down.

    Attributes:
        layer: its name.
        text: what was done, and why.
        exact: whether the numbers stay what they were, but for rounding.
        effect: what was measured on the layer alone; empty until then.
        worst: the largest difference measured, a share of the largest value.
    """

    layer: str
    text: str
    exact: bool = True
    effect: str = ""
    worst: float = 0.0


@dataclass
class Emission:
    """One layer on its way into the graph.

    Attributes:
        builder: the graph.
        name: of the layer; its main node has it too.
        module: the layer.
        bottoms, tops: names of ONNX values.
        bottom_shapes, top_shapes: static shapes.
        parameters: the blobs by their attribute names.
        free_rows: whether the number of rows (axis 0) of a bottom or top depends on values.
        integers: store parameters that lie on a power-of-two grid as integers.
        pairs: write neurons as QuantizeLinear and DequantizeLinear.
        notes: what to report.
    """

    builder: GraphBuilder
    name: str
    module: Any
    bottoms: list[str]
    tops: list[str]
    bottom_shapes: list[Shape]
    top_shapes: list[Shape]
    parameters: dict[str, np.ndarray] = field(default_factory=dict)
    parameter_names: dict[str, str] = field(default_factory=dict)
    free_rows: bool = False
    integers: bool = False
    pairs: bool = False
    notes: list[Note] = field(default_factory=list)

    @property
    def shape(self) -> Shape:
        """Shape of the first bottom."""
        return self.bottom_shapes[0]

    def op(self, op: str, *inputs: str, to: str | None = None, **attributes: Any) -> str:
        """Add a node with one output; returns the output's name.

        Args:
            inputs: names of values; an empty one is an input left out.
            to: name of the output, as a rule one of `tops`; None makes a name.
            attributes: of the node; None are left out.
        """
        name = self.name if to is not None and to == self.tops[0] else f"{self.name}/{op}"
        output = self.builder.value_name(f"{self.name}/{op}") if to is None else to
        self.builder.add(op, inputs, [output], name, **attributes)
        return output

    def brief(self, op: str, wish: str, *inputs: str) -> str:
        """The output of a node that is called LAYER/`wish`, as its output is.

        For what a net in fixed point has hundreds of: a small net's file is mostly names.
        """
        output = self.builder.value_name(f"{self.name}/{wish}")
        self.builder.add(op, inputs, [output], output)
        return output

    def power_of_two(self, exponent: int) -> str:
        """The name of the constant 2^exponent."""
        return self.builder.constant(np.asarray(math.ldexp(1.0, exponent), np.float32), f"2^{exponent}")

    def const(self, values: ArrayLike, dtype: DTypeLike = np.float32, what: str = "constant") -> str:
        """The name of a constant."""
        return self.builder.constant(np.asarray(values, dtype), f"{self.name}/{what}")

    def ints(self, values: ArrayLike, what: str = "shape") -> str:
        """The name of an int64 constant."""
        return self.const(values, np.int64, what)

    def parameter(self, name: str, view: Callable[[np.ndarray], np.ndarray] | None = None) -> str:
        """The initializer of a blob; layers that share the blob share it.

        Args:
            view: brings it into the form that ONNX wants; such a form is an initializer of its own.
        """
        values, known_as = self.parameters[name], self.parameter_names[name]
        if view is not None:
            changed = np.ascontiguousarray(view(values))
            known_as += "" if changed.shape == values.shape and np.array_equal(changed, values) else "/onnx"
            values = changed
        whole = as_integers(values, self.builder.opset) if self.integers else None
        if whole is not None:
            stored_as = self._initializer(f"{known_as}.int", whole[0])
            return self.brief("DequantizeLinear", name, stored_as, self.power_of_two(-whole[1]))
        return self._initializer(known_as, values)

    def _initializer(self, known_as: str, values: np.ndarray) -> str:
        stored = self.builder.constants.get(known_as)
        if stored is None:
            self.builder.reserve([known_as])
            self.builder.constants[known_as] = values
        elif stored.shape != values.shape:
            return self.builder.constant(values, known_as)
        return known_as

    def alias(self, top: int, value: str) -> None:
        """Top number `top` is the value itself."""
        self.builder.alias(self.tops[top], value)

    def reshape(self, value: str, shape: Sequence[int], to: str | None = None) -> str:
        """A value in another (static) shape; where the number of rows depends on values, they are as many as it has."""
        if self.free_rows and -1 not in shape and shape[0] == self.top_shapes[0][0]:
            shape = (-1, *shape[1:])
        return self.op("Reshape", value, self.ints(list(shape)), to=to)

    def reduce(self, kind: str, value: str, axes: Sequence[int], *, keep: bool = True, to: str | None = None) -> str:
        """ReduceMean and its like, whose axes became an input with opset 18 (of ReduceSum with 13)."""
        if kind == "ReduceSum" or self.builder.opset >= 18:
            return self.op(kind, value, self.ints(list(axes), "axes"), to=to, keepdims=int(keep))
        return self.op(kind, value, to=to, axes=list(axes), keepdims=int(keep))

    def slice(
        self, value: str, starts: Sequence[int], ends: Sequence[int], axes: Sequence[int], to: str | None = None
    ) -> str:
        """Part of a value, by steps of 1."""
        wanted = (self.ints(list(starts), "starts"), self.ints(list(ends), "ends"), self.ints(list(axes), "axes"))
        return self.op("Slice", value, *wanted, to=to)

    def pad(self, value: str, begins: Sequence[int], ends: Sequence[int], fill: float) -> str:
        """A value with margins; negative ones crop."""
        return self.op("Pad", value, self.ints([*begins, *ends], "pads"), self.const(fill, what="fill"))

    def cast(self, value: str, dtype: type, to: str | None = None) -> str:
        """A value as another type."""
        output = self.builder.value_name(f"{self.name}/Cast") if to is None else to
        name = self.name if to is not None else f"{self.name}/Cast"
        kind = self.builder.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self.builder.add("Cast", [value], [output], name, to=kind)
        return output

    def scaled(self, value: str, scale: float, shift: float, to: str | None = None) -> str:
        """shift + scale x, without what changes nothing; an Identity where that is all and `to` is asked for."""
        last = "shift" if shift else "scale" if scale != 1 else ""
        if scale != 1:
            value = self.op("Mul", value, self.const(scale, what="scale"), to=to if last == "scale" else None)
        if shift:
            value = self.op("Add", value, self.const(shift, what="shift"), to=to if last == "shift" else None)
        return self.op("Identity", value, to=to) if to is not None and not last else value

    def note(self, text: str, *, exact: bool = True) -> None:
        """Add to the report."""
        self.notes.append(Note(self.name, text, exact))


Emitter = Callable[[Emission], None]
emitters: Emitters[Emitter] = Emitters()
emits, lacks, emitter_of = emitters.emits, emitters.lacks, emitters.of


def to_array(tensor: Tensor) -> np.ndarray:
    """A parameter as float32 in C order."""
    with torch.no_grad():
        return np.ascontiguousarray(tensor.detach().cpu().float().numpy())
