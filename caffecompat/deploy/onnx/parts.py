"""Activations in front of the Concat that joins the parts of a split convolution, where the DPU fuses them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

from caffecompat.deploy.onnx.graph import GraphBuilder

__all__ = ["activate_parts"]

_WEIGHTED = {"Conv", "ConvTranspose"}
_ACTIVATIONS = {"Relu", "LeakyRelu", "Clip"}


def activate_parts(builder: GraphBuilder, kept: Collection[str]) -> None:
    """Turn an activation of a Concat of convolutions into a Concat of activations; the numbers stay what they are.

    Args:
        kept: values that must stay, the outputs of the graph.
    """
    read = Counter(name for node in builder.nodes for name in node.input)
    makers = {name: node for node in builder.nodes for name in node.output}
    nodes: list[Any] = []
    for node in builder.nodes:
        join = makers.get(node.input[0]) if node.op_type in _ACTIVATIONS else None
        nodes.append(node)
        if join is None or join.op_type != "Concat" or read[join.output[0]] > 1 or join.output[0] in kept:
            continue
        if any(part not in makers or makers[part].op_type not in _WEIGHTED or read[part] > 1 for part in join.input):
            continue
        nodes.remove(join)
        nodes.remove(node)
        for at, part in enumerate(list(join.input)):
            own = type(node)()
            own.CopyFrom(node)
            own.name = f"{node.name}/{at}"
            own.input[0], own.output[0] = part, builder.value_name(f"{node.name}/{at}")
            join.input[at] = own.output[0]
            builder.owners[own.name] = builder.owners[node.name]
            nodes.append(own)
        join.output[0] = node.output[0]
        makers[join.output[0]] = join
        nodes.append(join)
    builder.nodes = nodes
