"""Which values of a net have as many rows as their values decide: regions of interest, and all that is made of them."""

from __future__ import annotations

from caffecompat.net import Net
from caffecompat.net.layer import Value

__all__ = ["free_rows"]


def free_rows(net: Net) -> set[Value]:
    """Values whose number of rows (axis 0) is known when the net runs."""
    found: set[Value] = set()
    for layer in net.layers:
        decides = layer.module is not None and layer.module.variable_rows
        if decides or any(bottom in found for bottom in layer.bottom_values):
            found.update(layer.top_values)
    return found
