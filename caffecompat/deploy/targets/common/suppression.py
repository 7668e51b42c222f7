"""Suppression of overlapping boxes."""

from __future__ import annotations

from typing import Any

from caffecompat.deploy.onnx.emission import UnsupportedLayer
from caffecompat.deploy.targets.graph_pass import GraphPass, Site

__all__ = ["FixedOverlap"]


class FixedOverlap(GraphPass):
    """The overlap that suppresses a box is one number for targets: a Scan that lowers it step by step is refused."""

    operators = frozenset({"Scan"})

    def __init__(self, target: str) -> None:
        self.target = target

    def visit(self, site: Site) -> None:
        eta = _factor(site)
        if eta != 1:
            raise UnsupportedLayer(f"{self.target} has no eta ({eta:g}); set it to 1, or use --cut-detection")


def _factor(site: Site) -> float:
    """What a Scan's step multiplies by."""
    body: Any = site.attribute("body")
    array = site.graph.builder.onnx.numpy_helper.to_array
    constants = {tensor.name: tensor for tensor in body.initializer}
    factors = [
        constants[name] for node in body.node if node.op_type == "Mul" for name in node.input if name in constants
    ]
    return float(array(factors[0])) if factors else 1.0
