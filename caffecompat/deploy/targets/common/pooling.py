"""Pads of pooling windows that reach past the edge."""

from __future__ import annotations

from caffecompat.deploy.targets.graph_pass import GraphPass, Site

__all__ = ["UnevenPads"]


class UnevenPads(GraphPass):
    """Caffe rounds the count of windows up, targets as a rule down: pads that make up for it are noted."""

    operators = frozenset({"MaxPool", "AveragePool"})

    def visit(self, site: Site) -> None:
        before = site.maker(site.node.input[0])
        pads = [list(site.attribute("pads", ()))]
        if before is not None and before.op_type == "Pad":
            pads.append(Site(site.graph, before, site.changes).listed(1, "pads"))
        if any(end > begin for each in pads for begin, end in zip(*_halves(each), strict=True)):
            site.note("the last windows reach past the edge, as Caffe rounds up: explicit pad below and to the right")


def _halves(pads: list[int]) -> tuple[list[int], list[int]]:
    """Pads before and after each axis."""
    middle = len(pads) // 2
    return pads[:middle], pads[middle:]
