"""Passes over an exported graph: what a target wants in other words than the emitters use.

Emitters write each layer in the plainest operators and know no target. A pass recognizes operators that its target
lacks, limits or computes otherwise, replaces them or refuses the layer, and returns what it changed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from caffecompat.deploy.onnx.emission import Emission, Note, Shape, UnsupportedLayer
from caffecompat.deploy.onnx.graph import GraphBuilder, Output

if TYPE_CHECKING:
    from onnx import NodeProto

__all__ = ["Changes", "ExportedGraph", "GraphPass", "Site", "run_passes"]


@dataclass
class ExportedGraph:
    """An ONNX graph with the nodes of all layers, not finished yet.

    Attributes:
        builder: its nodes and constants.
        emissions: the layer that each node was written for, by node name.
        outputs: of the graph, in order.
    """

    builder: GraphBuilder
    emissions: dict[str, Emission]
    outputs: list[Output] = field(default_factory=list)


@dataclass
class Changes:
    """What a pass did.

    Attributes:
        notes: for the report, one for each change of a layer.
        refused: layers by name that have no form for the target, each with the reason and what to do.
    """

    notes: list[Note] = field(default_factory=list)
    refused: list[tuple[str, UnsupportedLayer]] = field(default_factory=list)


class GraphPass(ABC):
    """One change that a target wants of a graph."""

    operators: ClassVar[frozenset[str]] = frozenset()

    def run(self, graph: ExportedGraph) -> Changes:
        """Change the graph; by default by a visit to each node of `operators`."""
        changes = Changes()
        nodes, graph.builder.nodes = graph.builder.nodes, []
        for node in nodes:
            site = Site(graph, node, changes)
            if node.op_type in self.operators and node.name in graph.emissions:
                site.visit(self)
            if not site.replaced:
                graph.builder.nodes.append(node)
        return changes

    @abstractmethod
    def visit(self, site: Site) -> None:
        """Change, replace or note one node.

        Raises:
            UnsupportedLayer: the target has nothing for it.
        """


class Site:
    """A node that a pass visits, and the layer that it was written for."""

    def __init__(self, graph: ExportedGraph, node: NodeProto, changes: Changes) -> None:
        self.graph, self.node, self.changes = graph, node, changes
        self.replaced = False

    @property
    def emission(self) -> Emission:
        """The layer as its emitter saw it."""
        return self.graph.emissions[self.node.name]

    @property
    def module(self) -> Any:
        """The layer."""
        return self.emission.module

    @property
    def opset(self) -> int:
        return self.graph.builder.opset

    def visit(self, by: GraphPass) -> None:
        """Let a pass look at the node; new nodes are the same layer's."""
        builder, own = self.graph.builder, self.emission
        builder.layer, start = builder.owners[self.node.name], len(builder.nodes)
        try:
            by.visit(self)
        except UnsupportedLayer as problem:
            self.changes.refused.append((own.name, problem))
        for node in builder.nodes[start:]:
            self.graph.emissions[node.name] = own

    def shape(self, value: str) -> Shape | None:
        """The static shape of a value that the layer reads or makes; None of one in between."""
        own, resolve = self.emission, self.graph.builder.resolve
        known = zip((*own.bottoms, *own.tops), (*own.bottom_shapes, *own.top_shapes), strict=True)
        return next((shape for name, shape in known if resolve(name) == value), None)

    def constant(self, place: int) -> np.ndarray | None:
        """The value of an input by place, where it is a constant."""
        inputs = self.node.input
        return self.graph.builder.known(inputs[place]) if place < len(inputs) else None

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute of the node."""
        found = next((entry for entry in self.node.attribute if entry.name == name), None)
        return default if found is None else self.graph.builder.onnx.helper.get_attribute_value(found)

    def listed(self, place: int, name: str) -> list[int]:
        """Whole numbers that are an input in newer opsets and an attribute in older ones; [] where there are none."""
        known = self.constant(place)
        return list(self.attribute(name, ())) if known is None else [int(value) for value in known.reshape(-1)]

    def set_attribute(self, name: str, value: object) -> None:
        """Give an attribute that the node has another value."""
        entry = next(entry for entry in self.node.attribute if entry.name == name)
        entry.CopyFrom(self.graph.builder.onnx.helper.make_attribute(name, value))

    def maker(self, value: str) -> NodeProto | None:
        """The node, before this one, that makes a value; None where there is none."""
        return next((node for node in reversed(self.graph.builder.nodes) if value in node.output), None)

    def replace(self) -> Emission:
        """Take the node out; what makes its outputs instead is added by the emission that is returned."""
        self.replaced = True
        own = self.emission
        main = self.node.output[0] if self.node.name == own.name else ""
        self.graph.builder.release(self.node)
        return replace(own, tops=[main], notes=[])

    def note(self, text: str, *, exact: bool = True) -> None:
        """State in the report what was done to the layer, once."""
        note = Note(self.emission.name, text, exact)
        if note not in self.changes.notes:
            self.changes.notes.append(note)


def run_passes(passes: Sequence[GraphPass], graph: ExportedGraph) -> Changes:
    """Run passes one after the other."""
    whole = Changes()
    for each in passes:
        changes = each.run(graph)
        whole.notes += changes.notes
        whole.refused += changes.refused
    return whole
