"""A net computed by segments, layers on end, each of which may be computed in another way than layer by layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from caffecompat.layers import Layer
from caffecompat.layers.bn import BN
from caffecompat.layers.normalization import BatchNorm
from caffecompat.layers.python_layer import PythonLayer
from caffecompat.net.graph import Graph
from caffecompat.net.layer import NetLayer, Value
from caffecompat.net.module import returned_values
from caffecompat.net.precision import compute, in_single

if TYPE_CHECKING:
    from caffecompat.net.computation import Tops

__all__ = ["Segment", "SegmentedCode", "in_segments", "is_pure"]

Pairs = Sequence[tuple[NetLayer, NetLayer]]


class Segment:
    """Layers on end that are computed together.

    Args:
        layers: in order.
        pure: whether they are such as `is_pure` wants them.
        wanted: the values that the net returns.
        readers: by value the layers, by index, that read it.

    Attributes:
        reads: what they read of others.
        makes: what others read of them, or the net returns.
    """

    def __init__(
        self,
        layers: Sequence[NetLayer],
        pure: bool,
        wanted: Collection[Value],
        readers: Mapping[Value, Collection[int]],
    ) -> None:
        self.layers, self.pure = list(layers), pure
        own = {layer.index for layer in layers}
        self.reads = list(dict.fromkeys(v for layer in layers for v in layer.known_bottoms if v.maker not in own))
        made = [value for layer in layers for value in layer.top_values]
        self.makes = [value for value in made if value in wanted or not own.issuperset(readers.get(value, ()))]
        # By number, as torch's compiler follows lists more easily than Values.
        places = {value: at for at, value in enumerate([*self.reads, *made])}
        self._bottoms = [
            [(places[value], cut) for value, cut in zip(layer.known_bottoms, _cuts(layer), strict=True)]
            for layer in layers
        ]
        self._makes = [places[value] for value in self.makes]

    def compute(self, *given: Tensor) -> tuple[Tensor, ...]:
        """What it makes of what it reads."""
        values = list(given)
        for layer, places in zip(self.layers, self._bottoms, strict=True):
            bottoms = [values[place].detach() if cut else values[place] for place, cut in places]
            made = compute(layer, bottoms)
            if isinstance(made, tuple):
                values += made[: len(layer.top_values)]
            elif layer.top_values:
                values.append(made)
        return tuple(values[place] for place in self._makes)


def _cuts(layer: NetLayer) -> list[bool]:
    """Of each bottom, whether no gradient goes there."""
    return [not passes for passes in layer.param.propagate_down] or [False] * len(layer.bottoms)


class SegmentedCode(ABC):
    """Computes a net by segments: what a subclass does with each, and of those with an effect layer by layer.

    Args:
        graph: of the net.
        segments: all layers that compute, in order.
    """

    def __init__(self, graph: Graph, segments: Sequence[Segment]) -> None:
        self.segments = list(segments)
        self._fed = [value for layer in graph.layers if layer.module is None for value in layer.top_values]
        self._returned = returned_values(graph, graph.layers)
        self._casts = any(layer.precision for layer in graph.layers)

    @abstractmethod
    def run(self, segment: Segment, *reads: Tensor) -> tuple[Tensor, ...]:
        """What a segment makes."""

    def __call__(self, *fed: Tensor) -> Tops:
        """The net's tops of its fed blobs."""
        values = dict(zip(self._fed, fed, strict=True))
        for segment in self.segments:
            values.update(zip(segment.makes, self.run(segment, *[values[v] for v in segment.reads]), strict=True))
        tops = {blob: values[value] for blob, value in self._returned.items()}
        return {blob: in_single(top) for blob, top in tops.items()} if self._casts else tops


def in_segments(graph: Graph, joined: Pairs, sizes: Mapping[Value, int], limit: float) -> list[Segment]:
    """The layers of a net that compute, in segments: pure ones on end up to a limit, the others apart.

    Args:
        joined: pairs of layers of which the first works on memory of the second, or in its place; they stay together
            but where a layer that is not pure lies between.
        sizes: count of each value.
        limit: of the values of a segment; it ends with the layer that reaches it.
    """
    layers = [layer for layer in graph.layers if layer.module is not None]
    makers = {layer.index: maker.index for layer, maker in joined}
    parts: list[tuple[list[NetLayer], bool]] = []
    held = 0
    for layer in layers:
        pure = is_pure(layer)
        full = held >= limit and not any(maker < layer.index <= index for index, maker in makers.items())
        if parts and parts[-1][1] and pure and not full:
            parts[-1][0].append(layer)
        else:
            parts.append(([layer], pure))
            held = 0
        held += sum(sizes.get(value, 0) for value in layer.top_values)
    readers: dict[Value, set[int]] = {}
    for layer in layers:
        for value in layer.known_bottoms:
            readers.setdefault(value, set()).add(layer.index)
    wanted = set(returned_values(graph, graph.layers).values())
    return [Segment(each, pure, wanted, readers) for each, pure in parts]


def is_pure(layer: NetLayer) -> bool:
    """Whether computing a layer twice has no other effect than computing it once, and its values are not looked at."""
    module = layer.module
    assert isinstance(module, Layer)
    if isinstance(module, BatchNorm | BN):
        return True
    remembers = module.remembers or module.follows_iteration or type(module).state is not Layer.state
    looks = module.is_loss or module.measures or module.untraceable or isinstance(module, PythonLayer)
    return not (remembers or looks)
