"""Which values of a net have as many rows as their values decide: regions of interest, and all that is made of them."""

from __future__ import annotations

from caffecompat.layers.proposal import PythonProposal
from caffecompat.net import Net
from caffecompat.net.build import NetLayer
from caffecompat.net.graph import Value

__all__ = ["free_rows"]


def free_rows(net: Net) -> set[Value]:
    """Values whose axis 0 a layer that proposes regions decides."""
    found: set[Value] = set()
    for node, layer in zip(net.graph.nodes, net.layers, strict=True):
        if _proposes(layer) or any(bottom in found for bottom in node.bottoms):
            found.update(node.tops)
    return found


def _proposes(layer: NetLayer) -> bool:
    return layer.type == "Proposal" or isinstance(getattr(layer.module, "own", None), PythonProposal)
