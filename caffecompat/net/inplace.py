"""Where a ReLU may write over its bottom instead of allocating a top.

Whether the prototxt says in place does not matter: blobs are values. What
matters is that nobody else reads the bottom, and that the backward pass of the
layer that made it does not need it. (ESPNet forward and backward on the CPU:
about a tenth faster.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from caffecompat.net.build import NetLayer
from caffecompat.net.graph import Graph, Node, Value
from caffecompat.schema import pb

__all__ = ["find_inplace"]

# Their tops are fresh memory, and autograd keeps their bottoms and weights only.
_FREE_TOPS = frozenset({"BatchNorm", "Convolution", "Deconvolution", "InnerProduct", "Scale"})


def find_inplace(graph: Graph, layers: Sequence[NetLayer], returned: Collection[Value]) -> list[NetLayer]:
    """The ReLU layers that may work in place."""
    readers = Counter(value for node in graph.nodes for value in node.bottoms)
    return [
        layer
        for layer, node in zip(layers, graph.nodes, strict=True)
        if layer.type == "ReLU"
        and (bottom := node.bottoms[0]) is not None
        and readers[bottom] == 1
        and bottom not in returned
        and _may_be_lost(graph.nodes[bottom.node])
    ]


def _may_be_lost(maker: Node) -> bool:
    if maker.type in _FREE_TOPS:
        return True
    if len(maker.bottoms) < 2:  # a sum or concatenation of one may hand its bottom on
        return False
    return maker.type == "Concat" or (
        maker.type == "Eltwise" and maker.param.eltwise_param.operation == pb.EltwiseParameter.SUM
    )
