"""Activations, which the DPU fuses into the convolutions before them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from caffecompat.deploy.targets.graph_pass import Changes, ExportedGraph, GraphPass, Site

if TYPE_CHECKING:
    from onnx import NodeProto

__all__ = ["ActivatedParts", "KnownSlope"]

_WEIGHTED = {"Conv", "ConvTranspose"}


class KnownSlope(GraphPass):
    """The DPU's leaky ReLU has one slope: with --dpu-leaky the others are set to it."""

    operators = frozenset({"LeakyRelu"})

    def __init__(self, slope: float, sets: bool) -> None:
        self.slope, self.sets = slope, sets

    def visit(self, site: Site) -> None:
        slope, known = site.attribute("alpha"), self.slope
        if slope == known:
            return
        if self.sets:
            site.set_attribute("alpha", known)
            site.note(f"slope {slope:g} became the DPU's 26/256 = {known:g}; fine-tune with it", exact=False)
        else:
            site.note(
                f"slope {slope:g} stays, so it runs on the CPU: the DPU supports only 26/256 (--dpu-leaky sets it)"
            )


class ActivatedParts(GraphPass):
    """An activation of a Concat of convolutions becomes a Concat of activations; the numbers stay what they are.

    The DPU fuses an activation into the convolution before it alone. A Concat of convolutions is also what becomes of
    one whose groups were taken apart.
    """

    operators = frozenset({"Relu", "LeakyRelu", "Clip"})

    def run(self, graph: ExportedGraph) -> Changes:
        self._kept = {graph.builder.resolve(output.name) for output in graph.outputs}
        self._read = Counter(name for node in graph.builder.nodes for name in node.input)
        return super().run(graph)

    def visit(self, site: Site) -> None:
        join = site.maker(site.node.input[0])
        if join is None or join.op_type != "Concat" or self._read[join.output[0]] > 1 or join.output[0] in self._kept:
            return
        parts = [site.maker(part) for part in join.input]
        if all(part is not None and part.op_type in _WEIGHTED and self._read[part.output[0]] == 1 for part in parts):
            _activate(site, join)


def _activate(site: Site, join: NodeProto) -> None:
    builder, node = site.graph.builder, site.node
    builder.nodes.remove(join)
    for at, part in enumerate(list(join.input)):
        own = type(node)()
        own.CopyFrom(node)
        own.name = f"{node.name}/{at}"
        own.input[0], own.output[0] = part, builder.value_name(f"{node.name}/{at}")
        join.input[at] = own.output[0]
        builder.owners[own.name] = builder.owners[node.name]
        builder.nodes.append(own)
    join.output[0] = node.output[0]
    site.replaced = True
    builder.nodes.append(join)
