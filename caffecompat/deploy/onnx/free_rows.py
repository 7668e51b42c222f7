"""Which values of a net have as many rows as their values decide: regions of interest, and all that is made of them."""

from __future__ import annotations

from caffecompat.layers.proposal import PythonProposal
from caffecompat.net import Net
from caffecompat.net.layer import NetLayer, Value

__all__ = ["free_rows"]


def free_rows(net: Net) -> set[Value]:
    """Values whose axis 0 a layer that proposes regions decides."""
    found: set[Value] = set()
    for layer in net.layers:
        if _proposes(layer) or any(bottom in found for bottom in layer.bottom_values):
            found.update(layer.top_values)
    return found


def _proposes(layer: NetLayer) -> bool:
    return layer.type == "Proposal" or isinstance(getattr(layer.module, "own", None), PythonProposal)
