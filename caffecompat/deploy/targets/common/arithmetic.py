"""Differences and sums of squares, in operators that every target has."""

from __future__ import annotations

from caffecompat.deploy.targets.graph_pass import GraphPass, Site
from caffecompat.layers.elementwise import Eltwise

__all__ = ["CoefficientsAsProducts", "SquaresAsProducts"]


class CoefficientsAsProducts(GraphPass):
    """An Eltwise sum with coefficients is a sum of products; also a difference, for which there is Sub."""

    operators = frozenset({"Add", "Mul", "Sub"})

    def visit(self, site: Site) -> None:
        m = site.module
        if not isinstance(m, Eltwise) or m.operation != "SUM" or all(coefficient == 1 for coefficient in m.coeffs):
            return
        site.note("coefficients other than 1 became Mul with constants")
        if site.node.op_type == "Sub":
            value, taken_off = site.node.input
            e = site.replace()
            e.op("Add", value, e.scaled(taken_off, -1.0, 0), to=site.node.output[0])


class SquaresAsProducts(GraphPass):
    """ReduceSumSquare, which no target's list has, becomes a ReduceSum of products."""

    operators = frozenset({"ReduceSumSquare"})

    def visit(self, site: Site) -> None:
        axes, keep = site.listed(1, "axes"), bool(site.attribute("keepdims", 1))
        value, output = site.node.input[0], site.node.output[0]
        e = site.replace()
        e.reduce("ReduceSum", e.op("Mul", value, value), axes, keep=keep, to=output)
