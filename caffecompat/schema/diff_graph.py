"""A net's layers as a graph over both phases, for comparing it with another."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property

from caffecompat.schema import pb
from caffecompat.schema.diff_fields import layer_fields
from caffecompat.schema.document import NetDocument

__all__ = ["DiffGraph", "DiffLayer", "groups_outside", "make_graph", "phases_of"]

PHASES = (pb.TRAIN, pb.TEST)
Maker = tuple[int, int]  # a layer, and the position of one of its tops


@dataclass
class DiffLayer:
    """A layer.

    Attributes:
        index, position: in the graph, and in the net's message (the same where all phases are looked at).
        phases: in which it takes part, as far as its phase rules show (stages and levels are not looked at).
        fields: what it says, by path, besides name, type, bottoms and tops.
        makers: for each bottom, which layer makes it, by phase; a blob that nothing makes has none.
        readers: the layers that read its tops, in order.
    """

    index: int
    position: int
    name: str
    type: str
    phases: tuple[int, ...]
    fields: dict[str, str]
    bottoms: list[str]
    tops: list[str]
    makers: list[dict[int, Maker]] = field(default_factory=list)
    readers: list[int] = field(default_factory=list)

    @cached_property
    def sources(self) -> list[int]:
        """The layers that make its bottoms, in the order of the bottoms."""
        return [maker[0] for makers in self.makers for maker in dict.fromkeys(makers.values())]

    @property
    def in_place(self) -> bool:
        return bool(self.bottoms) and self.tops[:1] == self.bottoms[:1]

    @property
    def commutes(self) -> bool:
        """Whether the order of its bottoms does not matter."""
        return self.type == "Eltwise" and "eltwise_param.coeff" not in self.fields


@dataclass
class DiffGraph:
    """The layers of one of the nets, in the order of the file."""

    layers: list[DiffLayer]


def phases_of(layer: pb.LayerParameter) -> tuple[int, ...]:
    """The phases in which a LayerParameter can take part."""
    barred = {rule.phase for rule in layer.exclude if _phase_alone(rule)}
    wanted = {rule.phase for rule in layer.include if rule.HasField("phase")}
    if not wanted or any(not rule.HasField("phase") for rule in layer.include):
        wanted = set(PHASES)
    if any(not rule.ListFields() for rule in layer.exclude):
        return ()
    return tuple(phase for phase in PHASES if phase in wanted and phase not in barred)


def _phase_alone(rule: pb.NetStateRule) -> bool:
    return [descriptor.name for descriptor, _ in rule.ListFields()] == ["phase"]


def make_graph(document: NetDocument, phase: int | None = None) -> DiffGraph:
    """The graph of a net; with `phase`, of the layers that take part in it."""
    layers: list[DiffLayer] = []
    current: dict[tuple[int, str], Maker] = {}
    for position, param in enumerate(document.message.layer):
        phases = phases_of(param)
        if phase is not None and phase not in phases:
            continue
        layer = DiffLayer(
            len(layers), position, param.name, param.type, phases, layer_fields(param, document.fork),
            list(param.bottom), list(param.top),
        )  # fmt: skip
        layers.append(layer)
        if phase is not None:
            layer.fields.pop("include", None)
            layer.phases = (phase,)
        for blob in layer.bottoms:
            layer.makers.append({p: current[p, blob] for p in layer.phases if (p, blob) in current})
        for source in dict.fromkeys(layer.sources):
            layers[source].readers.append(layer.index)
        for slot, blob in enumerate(layer.tops):
            current.update({(p, blob): (layer.index, slot) for p in layer.phases})
    return DiffGraph(layers)


def groups_outside(graph: DiffGraph, shared: Collection[int]) -> list[list[DiffLayer]]:
    """The layers whose index is not in `shared`, those that feed each other in one group, in the order of the file."""
    own = [layer for layer in graph.layers if layer.index not in shared]
    root = {layer.index: layer.index for layer in own}

    def find(index: int) -> int:
        while root[index] != index:
            root[index] = root[root[index]]
            index = root[index]
        return index

    for layer in own:
        for source in layer.sources:
            if source in root:
                first, second = sorted((find(source), find(layer.index)))
                root[second] = first
    groups: dict[int, list[DiffLayer]] = {}
    for layer in own:
        groups.setdefault(find(layer.index), []).append(layer)
    return list(groups.values())
