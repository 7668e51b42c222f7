"""What the limits of inference hardware are asked about an ONNX graph: facts of the model and of each node.

Facts that layers have too carry the same names (see ``facts``), so that a table's limits serve both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from caffecompat.deploy.onnx.graph import need_onnx
from caffecompat.deploy.targets.table import Judgment, TargetTable

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["JudgedModel", "JudgedNode", "judge_model", "node_facts"]

Facts = dict[str, Any]
Shape = tuple[int | str, ...]

_NO_LONGER = 1e38  # beyond any bound that is meant as one


@dataclass
class JudgedNode:
    """A node and what the target makes of it.

    Attributes:
        name, operator: of the node.
        layer: whose it is; "" where it only names an output.
    """

    name: str
    operator: str
    layer: str
    judgment: Judgment


@dataclass
class JudgedModel:
    """A model and what the target makes of it.

    Attributes:
        whole: the verdict on opset, batch and shapes.
        nodes: in the order of the graph.
    """

    whole: Judgment
    nodes: list[JudgedNode] = field(default_factory=list)

    def outside(self) -> list[JudgedNode]:
        """The nodes that the target does not run."""
        return [node for node in self.nodes if node.judgment.verdict in ("cpu", "refused")]


def judge_model(
    model: ModelProto, table: TargetTable, layers: Mapping[str, str], weights: Mapping[str, np.ndarray] | None = None
) -> JudgedModel:
    """Hold a model against a target's list of operators.

    Args:
        model: an onnx.ModelProto with the shapes of all its values.
        layers: the layer that each node stands for, by node name.
        weights: initializers that are not in the model.

    Raises:
        TargetError: the table asks for something that is no fact.
    """
    graph = _Graph(model, weights or {})
    judged = JudgedModel(table.judge_model(graph.facts()))
    for node in model.graph.node:
        judgment = table.judge_operator(node_facts(graph, node))
        judged.nodes.append(JudgedNode(node.name, node.op_type, layers.get(node.name, ""), judgment))
    return judged


class _Graph:
    """Shapes, constants, makers and readers of a model's values."""

    def __init__(self, model: ModelProto, weights: Mapping[str, np.ndarray]) -> None:
        onnx = need_onnx()
        self.model = model
        graph = model.graph
        self.array = onnx.numpy_helper.to_array
        self.value_of = onnx.helper.get_attribute_value
        self.tensors = {tensor.name: tensor for tensor in graph.initializer}
        self.weights = weights
        self.constants = self.tensors.keys() | weights.keys()
        self.shapes: dict[str, Shape] = {name: tuple(tensor.dims) for name, tensor in self.tensors.items()}
        self.shapes.update({name: values.shape for name, values in weights.items()})
        for value in (*graph.input, *graph.value_info, *graph.output):
            dims = value.type.tensor_type.shape.dim
            self.shapes[value.name] = tuple(d.dim_value if d.HasField("dim_value") else d.dim_param for d in dims)
        self.makers = {output: node for node in graph.node for output in node.output}
        self.readers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.ends = {value.name for value in (*graph.input, *graph.output)}

    def facts(self) -> Facts:
        """``opset``, ``ir_version``, ``batch``, ``dynamic`` (values with an unknown size), ``fed_weights``."""
        fed = [value.name for value in self.model.graph.input]
        dynamic = [name for name, shape in self.shapes.items() if any(not isinstance(size, int) for size in shape)]
        dynamic += [name for name in self.makers if name not in self.shapes]
        inputs = [self.shapes[name] for name in fed if name not in self.constants and self.shapes[name]]
        return {
            "opset": next(entry.version for entry in self.model.opset_import if entry.domain in ("", "ai.onnx")),
            "ir_version": self.model.ir_version,
            "batch": max((shape[0] for shape in inputs), default=1),
            "dynamic": ", ".join(dynamic[:3]) + (", ..." if len(dynamic) > 3 else ""),
            "fed_weights": sum(name in self.constants for name in fed),
        }

    def known(self, name: str) -> np.ndarray | None:
        """The values of a constant."""
        tensor = self.tensors.get(name)
        return self.weights.get(name) if tensor is None else self.array(tensor)

    def maker(self, name: str) -> str:
        """The operator that makes a value, seen through Identity; "" of the graph's inputs."""
        while name in self.makers and self.makers[name].op_type == "Identity":
            name = self.makers[name].input[0]
        return str(self.makers[name].op_type) if name in self.makers else ""


def node_facts(graph: _Graph, node: NodeProto) -> Facts:
    """Facts of a node.

    Of all: ``type`` (the operator), ``name``, ``inputs``, ``variables`` and ``constants`` (how many of the inputs),
    ``rank``, ``out_rank``, ``full_axes`` (longer than 1, of the input that has most), ``batch``, ``in_channels``,
    ``in_h``, ``in_w``, ``out_channels``, ``out_h``, ``out_w``, ``same_shapes`` (of the variable inputs), ``behind``
    (the operator that makes the first input), ``convolved`` (where that is a convolution or a Gemm its form: "dense",
    "depthwise", "grouped"), ``readers`` (the operators that read the outputs), ``at_edge`` (it reads
    an input or makes an output of the graph) and ``axis`` (counted from the front; -1 without one). More by operator.
    """
    attributes = {attribute.name: graph.value_of(attribute) for attribute in node.attribute}
    given = [name for name in node.input if name]
    variable = [name for name in given if name not in graph.constants]
    shapes = [_numbers(graph.shapes.get(name, ())) for name in variable] or [()]
    made = _numbers(graph.shapes.get(node.output[0], ()))
    facts: Facts = {
        "type": node.op_type,
        "name": node.name,
        "inputs": len(given),
        "variables": len(variable),
        "constants": len(given) - len(variable),
        "rank": len(shapes[0]),
        "out_rank": len(made),
        "full_axes": max(sum(size != 1 for size in shape) for shape in (*shapes, made)),
        "batch": shapes[0][0] if shapes[0] else 1,
        **_sizes("in", shapes[0]),
        **_sizes("out", made),
        "same_shapes": len(set(shapes)) == 1,
        "behind": graph.maker(variable[0]) if variable else "",
        "convolved": _form(graph, variable[0]) if variable else "",
        "readers": sorted({reader.op_type for name in node.output for reader in graph.readers.get(name, [])}),
        "at_edge": bool(graph.ends.intersection([*node.input, *node.output])),
        "axis": attributes.get("axis", -1) % max(1, len(shapes[0])) if "axis" in attributes else -1,
    }
    more = _MORE.get(node.op_type)
    if more is not None:
        facts.update(more(graph, node, attributes, shapes[0], made))
    return facts


def _form(graph: _Graph, name: str) -> str:
    """The form of the convolution that makes a value; "" where none does."""
    while name in graph.makers and graph.makers[name].op_type == "Identity":
        name = graph.makers[name].input[0]
    node = graph.makers.get(name)
    if node is None or node.op_type not in ("Conv", "ConvTranspose", "Gemm"):
        return ""
    group = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    channels = graph.shapes.get(node.input[0], (0, 0))[1]
    return "dense" if group == 1 else "depthwise" if group == channels else "grouped"


def _numbers(shape: Shape) -> tuple[int, ...]:
    """A shape whose unknown sizes count as 0."""
    return tuple(size if isinstance(size, int) else 0 for size in shape)


def _sizes(prefix: str, shape: Sequence[int]) -> Facts:
    padded = [*shape[1:4], 0, 0, 0]
    return {f"{prefix}_channels": padded[0], f"{prefix}_h": padded[1], f"{prefix}_w": padded[2]}


# ------------------------------------------------------------------------------------------------ by operator

_Sizes = tuple[int, ...]
_Attributes = Mapping[str, Any]
_More = Callable[[_Graph, "NodeProto", _Attributes, _Sizes, _Sizes], Facts]


def _pairs(attributes: _Attributes, axes: int) -> Facts:
    """``stride_*``, ``pad_*`` (above, left), ``pad_end_*`` (below, right), ``dilation_*`` of a window."""
    facts: Facts = {}
    pads = list(attributes.get("pads", [0] * 2 * axes))
    for name, values in (
        ("stride", attributes.get("strides", [1] * axes)),
        ("dilation", attributes.get("dilations", [1] * axes)),
        ("pad", pads[:axes]),
        ("pad_end", pads[axes:]),
    ):
        facts[f"{name}_h"], facts[f"{name}_w"] = (values[0], values[1]) if axes > 1 else (values[0], values[0])
    return facts


def _convolution(graph: _Graph, node: NodeProto, attributes: _Attributes, shape: _Sizes, made: _Sizes) -> Facts:
    """``axes``, ``kernel_*``, ``stride_*``, ``pad_*``, ``dilation_*``, ``group``, ``depthwise``, ``output_padding``."""
    kernel = list(attributes.get("kernel_shape") or graph.shapes[node.input[1]][2:])
    axes, group = len(kernel), attributes.get("group", 1)
    return {
        "axes": axes,
        "group": group,
        "depthwise": group > 1 and group == shape[1],
        "output_padding": any(attributes.get("output_padding", ())),
        "kernel_h": kernel[0] if axes > 1 else 1,
        "kernel_w": kernel[-1],
        **_pairs(attributes, axes),
    }


def _window(graph: _Graph, node: NodeProto, attributes: _Attributes, shape: _Sizes, made: _Sizes) -> Facts:
    """``method`` (MAX or AVE), ``kernel_*`` (the plane for the global ones), ``stride_*``, ``pad_*``, ``mask``."""
    kernel = attributes.get("kernel_shape", shape[2:])
    return {
        "method": "MAX" if "Max" in node.op_type else "AVE",
        "kernel_h": kernel[0] if len(kernel) > 1 else 1,
        "kernel_w": kernel[-1],
        "mask": len(node.output) > 1,
        **_pairs(attributes, len(kernel)),
    }


def _resize(graph: _Graph, node: NodeProto, attributes: _Attributes, shape: _Sizes, made: _Sizes) -> Facts:
    """``mode``, ``coordinates``, ``nearest_mode``, ``scale_h``, ``scale_w``, ``on_plane`` (nothing else changes)."""
    scales = [after / before if before else 0 for before, after in zip(shape, made, strict=True)]
    return {
        "mode": attributes.get("mode", b"nearest").decode(),
        "coordinates": attributes.get("coordinate_transformation_mode", b"half_pixel").decode(),
        "nearest_mode": attributes.get("nearest_mode", b"round_prefer_floor").decode(),
        "scale_h": scales[2],
        "scale_w": scales[3],
        "on_plane": scales[:2] == [1, 1],
    }


def _leaky(graph: _Graph, node: NodeProto, attributes: _Attributes, shape: _Sizes, made: _Sizes) -> Facts:
    """``slope`` below 0."""
    return {"slope": attributes.get("alpha", 0.01)}


def _clip(graph: _Graph, node: NodeProto, attributes: _Attributes, shape: _Sizes, made: _Sizes) -> Facts:
    """``least`` and ``most``, without bound beyond any number."""
    bounds = [graph.known(name) if name else None for name in (*node.input[1:], "", "")][:2]
    least, most = (float(bound) if bound is not None else None for bound in bounds)
    return {"least": -_NO_LONGER if least is None else least, "most": _NO_LONGER if most is None else most}


def _product(graph: _Graph, node: NodeProto, attributes: _Attributes, shape: _Sizes, made: _Sizes) -> Facts:
    """``channelwise``: the constant has one value, or one a channel (axis 1)."""
    constant = next((graph.shapes[name] for name in node.input if name in graph.constants), ())
    aligned = (*[1] * (len(shape) - len(constant)), *constant)
    return {"channelwise": all(size == 1 for axis, size in enumerate(aligned) if axis != 1)}


def _gemm(graph: _Graph, node: NodeProto, attributes: _Attributes, shape: _Sizes, made: _Sizes) -> Facts:
    """``trans_a``, ``alpha``, ``beta``; ``in_*`` of what a Flatten or Reshape in front of it read."""
    facts: Facts = {
        "trans_a": attributes.get("transA", 0),
        "alpha": attributes.get("alpha", 1.0),
        "beta": attributes.get("beta", 1.0),
    }
    maker = graph.makers.get(node.input[0])
    if maker is not None and maker.op_type in ("Flatten", "Reshape"):
        facts |= _sizes("in", _numbers(graph.shapes[maker.input[0]]))
    return facts


def _choice(graph: _Graph, node: NodeProto, attributes: _Attributes, shape: _Sizes, made: _Sizes) -> Facts:
    """``keepdims``, ``last``: of equals the last; of reductions also ``axis``, where there is one."""
    facts: Facts = {"keepdims": attributes.get("keepdims", 1), "last": bool(attributes.get("select_last_index", 0))}
    axes = attributes.get("axes", ())
    if len(node.input) > 1 and (listed := graph.known(node.input[1])) is not None:
        axes = listed.tolist()
    if len(axes) == 1:
        facts["axis"] = axes[0] % len(shape)
    return facts


def _slice(graph: _Graph, node: NodeProto, attributes: _Attributes, shape: _Sizes, made: _Sizes) -> Facts:
    """``known_places``; of Slice ``axis`` (-1 for several) and ``step`` (of the axis)."""
    given = [graph.known(name) for name in node.input[1:] if name]
    parts = [part.tolist() for part in given if part is not None]
    facts: Facts = {"known_places": len(parts) == len(given), "step": 1}
    if node.op_type == "Slice" and facts["known_places"]:
        axes = parts[2] if len(parts) > 2 else range(len(shape))
        changed = [axis % len(shape) for axis in axes if shape[axis] != made[axis]]
        facts["axis"] = changed[0] if len(changed) == 1 else -1
        facts["step"] = max(parts[3]) if len(parts) > 3 else 1
    return facts


def _reshape(graph: _Graph, node: NodeProto, attributes: _Attributes, shape: _Sizes, made: _Sizes) -> Facts:
    """``known_places``: the shape is a constant."""
    return {"known_places": all(name in graph.constants for name in node.input[1:])}


def _pad(graph: _Graph, node: NodeProto, attributes: _Attributes, shape: _Sizes, made: _Sizes) -> Facts:
    """``mode``, ``value``, ``on_plane`` (height and width alone get margins)."""
    value = graph.known(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(())
    return {
        "mode": attributes.get("mode", b"constant").decode(),
        "value": math.nan if value is None else float(value),
        "on_plane": shape[:-2] == made[:-2],
    }


_MORE: dict[str, _More] = {
    "ArgMax": _choice,
    "AveragePool": _window,
    "Clip": _clip,
    "Conv": _convolution,
    "ConvTranspose": _convolution,
    "Gemm": _gemm,
    "GlobalAveragePool": _window,
    "GlobalMaxPool": _window,
    "LeakyRelu": _leaky,
    "MaxPool": _window,
    "Mul": _product,
    "Pad": _pad,
    "ReduceMax": _choice,
    "Reshape": _reshape,
    "Resize": _resize,
    "Slice": _slice,
    "Split": _slice,
}
