"""The graph as a torch.fx.GraphModule: one call a layer, named after it, printing as readable code."""

from __future__ import annotations

import keyword
import operator
import re
from collections.abc import Sequence

from torch import fx, nn

from caffecompat.net.build import NetLayer
from caffecompat.net.graph import Graph, Value

__all__ = ["make_module"]


class _Names:
    """Python names for layers and blobs: unique, and no attribute that a module has already."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def python_name(self, caffe_name: str) -> str:
        """``conv1/7x7_s2`` becomes ``conv1_7x7_s2``, ``3x3`` becomes ``_3x3``."""
        name = re.sub(r"\W", "_", caffe_name, flags=re.ASCII) or "_"
        if name[0].isdigit():
            name = f"_{name}"
        if keyword.iskeyword(name) or hasattr(fx.GraphModule, name) or name in ("self", "torch", "training"):
            name = f"{name}_"
        unique, count = name, 1
        while unique in self._taken:
            count += 1
            unique = f"{name}_{count}"
        self._taken.add(unique)
        return unique


def make_module(
    name: str,
    graph: Graph,
    layers: Sequence[NetLayer],
    returned: dict[str, Value],
    cut: set[tuple[int, int]],
    *,
    half_precision: bool,
) -> tuple[fx.GraphModule, list[str]]:
    """Write the graph as a module.

    Args:
        returned: the blobs of the dict that ``forward`` returns.
        cut: (layer, bottom) pairs that no gradient may pass (propagate_down: false).
        half_precision: some layers compute in 16 bits; what is returned is made float32.

    Returns:
        The module, and the blob names of its placeholders in order: the tops of data and input layers.
    """
    root = nn.Module()
    program = fx.Graph()
    names = _Names()
    nodes: dict[Value, fx.Node] = {}
    fed: list[str] = []
    # Placeholders go first, whatever the place of their layer, because fx wants them so.
    for node, layer in zip(graph.nodes, layers, strict=True):
        if layer.module is None:
            for value in node.tops:
                nodes[value] = program.placeholder(names.python_name(value.blob))
                fed.append(value.blob)
    for node, layer in zip(graph.nodes, layers, strict=True):
        if layer.module is None:
            continue
        target = names.python_name(layer.name)
        root.add_module(target, layer.module)
        bottoms = []
        for position, read in enumerate(node.bottoms):
            assert read is not None
            bottom = nodes[read]
            bottoms.append(program.call_method("detach", (bottom,)) if (node.index, position) in cut else bottom)
        call = program.create_node("call_module", target, tuple(bottoms), name=target)
        if len(node.tops) == 1:
            nodes[node.tops[0]] = call
        else:
            for slot, made in enumerate(node.tops):
                top = names.python_name(made.blob)
                nodes[made] = program.create_node("call_function", operator.getitem, (call, slot), name=top)
    tops = {blob: nodes[value] for blob, value in returned.items()}
    if half_precision:
        tops = {blob: program.call_method("float", (node,)) for blob, node in tops.items()}
    program.output(tops)
    module = fx.GraphModule(root, program, class_name=_Names().python_name(name or "Net"))
    module.train(any(layer.module.training for layer in layers if layer.module is not None))
    return module, fed
