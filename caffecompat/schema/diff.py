"""What changed between two nets or two solvers: meaning against meaning, not line against line.

Order of fields and layers, comments, defaults written out and the age of the format (V0, V1, ``input`` fields) do not
count. See ``diff_align`` for how layers find each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from caffecompat.schema import pb
from caffecompat.schema.diff_align import align
from caffecompat.schema.diff_fields import FieldChange, changed_fields, field_texts
from caffecompat.schema.diff_graph import DiffGraph, DiffLayer, Maker, groups_outside, make_graph
from caffecompat.schema.document import NetDocument

__all__ = ["Block", "LayerDiff", "NetDiff", "diff_documents", "diff_solvers"]

_UPSAMPLING = frozenset({"Deconvolution", "DeephiResize", "Interp", "Resize", "Unpooling", "Upsample"})
_DECODER = 4  # a block that enlarges pictures and has this many layers is told as a decoder
_LAYER_FIELDS_APART = ("layer", "layers", "input", "input_dim", "input_shape")


@dataclass
class LayerDiff:
    """A layer of A and the layer of B that it is; one of the two is None where the other net has none.

    Attributes:
        changes: fields, tops and type whose values differ.
        rewired: bottoms of A and of B where layers that both nets have feed it differently.
        fed_before: those of A, by the names that their layers' tops have in B.
        moved: all that feeds it and all that reads it is different, and is in both nets.
    """

    a: DiffLayer | None
    b: DiffLayer | None
    changes: list[FieldChange] = field(default_factory=list)
    rewired: tuple[list[str], list[str]] | None = None
    fed_before: list[str] = field(default_factory=list)
    moved: bool = False

    @property
    def renamed(self) -> bool:
        return self.a is not None and self.b is not None and self.a.name != self.b.name

    @property
    def kind(self) -> str:
        """ "added", "removed", "moved", "changed", "renamed" or "same", the first of these that holds."""
        if self.a is None:
            return "added"
        if self.b is None:
            return "removed"
        if self.moved:
            return "moved"
        if self.changes or self.rewired:
            return "changed"
        return "renamed" if self.renamed else "same"


@dataclass
class Block:
    """Layers of one net only that hang together.

    Attributes:
        added: whether B has them; else A has.
        sources, readers: the layers around them.
    """

    added: bool
    layers: list[DiffLayer]
    sources: list[DiffLayer]
    readers: list[DiffLayer]

    @property
    def behind(self) -> list[str]:
        """Names of the layers that feed it."""
        return list(dict.fromkeys(layer.name for layer in self.sources))

    @property
    def before(self) -> list[str]:
        """Names of the layers that it feeds."""
        return list(dict.fromkeys(layer.name for layer in self.readers))

    @property
    def types(self) -> list[tuple[str, int]]:
        """How many of each type, the most frequent first."""
        return Counter(layer.type for layer in self.layers).most_common()

    @property
    def is_decoder(self) -> bool:
        """Whether it enlarges pictures again and is more than a single layer with its company."""
        return len(self.layers) >= _DECODER and any(layer.type in _UPSAMPLING for layer in self.layers)


@dataclass
class NetDiff:
    """Two nets compared.

    Attributes:
        fields: changes outside the layers.
        layers: all layers of both, in an order that follows both files.
        blocks: the layers that only one of them has, those that hang together in one block.
    """

    fields: list[FieldChange]
    layers: list[LayerDiff]
    blocks: list[Block]

    @property
    def pairs(self) -> Iterator[tuple[DiffLayer, DiffLayer]]:
        """Layers that both have."""
        return ((row.a, row.b) for row in self.layers if row.a is not None and row.b is not None)

    def of_kind(self, *kinds: str) -> list[LayerDiff]:
        return [row for row in self.layers if row.kind in kinds]

    @property
    def renamed(self) -> list[LayerDiff]:
        """Every renamed layer, also those where more has changed."""
        return [row for row in self.layers if row.renamed]

    @property
    def swapped(self) -> list[tuple[LayerDiff, LayerDiff]]:
        """Layers that have changed places: in B the first feeds the second, in A the second the first."""
        found = []
        by_a = {row.a.index: row for row in self.layers if row.a is not None and row.b is not None}
        for row in by_a.values():
            assert row.a is not None and row.b is not None
            for other in map(by_a.get, row.a.readers) if row.rewired else ():
                if other is not None and other.b is not None and other.b.index in row.b.sources:
                    found.append((other, row))
        return found

    @property
    def empty(self) -> bool:
        """Whether nothing differs."""
        return not self.fields and all(row.kind == "same" for row in self.layers)


def diff_documents(a: NetDocument, b: NetDocument, phase: int | None = None) -> NetDiff:
    """Compare two nets.

    Args:
        phase: look only at the layers of this phase; None looks at all.
    """
    first, second = make_graph(a, phase), make_graph(b, phase)
    pairs = align(first, second)
    rows = [
        _compare(first.layers[x], second.layers[y], first, second, pairs) if x is not None and y is not None
        else LayerDiff(None if x is None else first.layers[x], None if y is None else second.layers[y])
        for x, y in _rows(len(first.layers), len(second.layers), pairs)
    ]  # fmt: skip
    texts = [field_texts(document.message, _LAYER_FIELDS_APART) for document in (a, b)]
    fields = changed_fields(texts[0], texts[1], pb.NetParameter.DESCRIPTOR)
    taken = set(pairs.values())
    blocks = [*_blocks(first, set(pairs), added=False), *_blocks(second, taken, added=True)]
    return NetDiff(fields, rows, blocks)


def diff_solvers(a: pb.SolverParameter, b: pb.SolverParameter) -> list[FieldChange]:
    """Fields of two SolverParameters (today's form) that differ."""
    return changed_fields(field_texts(a), field_texts(b), pb.SolverParameter.DESCRIPTOR)


# ------------------------------------------------------------------------------------------------ one layer


def _compare(x: DiffLayer, y: DiffLayer, a: DiffGraph, b: DiffGraph, pairs: dict[int, int]) -> LayerDiff:
    row = LayerDiff(x, y)
    if x.type != y.type:
        row.changes.append(FieldChange("type", x.type, y.type))
    else:
        row.changes += changed_fields(x.fields, y.fields, pb.LayerParameter.DESCRIPTOR)
    if x.phases != y.phases and not any(change.path in ("include", "exclude") for change in row.changes):
        row.changes.append(FieldChange("phases", _phases(x), _phases(y)))
    row.changes += _tops(x, y)
    shared = set(x.phases) & set(y.phases)  # a phase that one layer is not for is told as such
    old, new = _wires(x, pairs, shared), _wires(y, None, shared)
    both = set(pairs.values())
    if old != new and all(maker is not None and maker in both for maker, _ in [*old, *new]):
        # Where a bottom comes from a layer of one net only, that layer's coming or going tells it.
        row.rewired = (x.bottoms, y.bottoms)
        row.fed_before = [_name_in(b, maker, pairs, blob) for blob, maker in zip(x.bottoms, x.makers, strict=True)]
        row.moved = _is_moved(x, y, pairs)
    return row


def _phases(layer: DiffLayer) -> str:
    return " and ".join("TRAIN" if phase == pb.TRAIN else "TEST" for phase in layer.phases) or "none"


def _tops(x: DiffLayer, y: DiffLayer) -> list[FieldChange]:
    """Tops of other names, unless the name follows that of the layer, or that of the bottom where both are in place."""
    changes = []
    if x.in_place != y.in_place and x.bottoms and y.bottoms:
        changes.append(FieldChange("in place", "yes" if x.in_place else "no", "yes" if y.in_place else "no"))
    for slot in range(max(len(x.tops), len(y.tops))):
        old, new = (side.tops[slot] if slot < len(side.tops) else None for side in (x, y))
        follows = (old, new) == (x.name, y.name) or (slot == 0 and (x.in_place or y.in_place))
        if old != new and not follows:
            changes.append(FieldChange("top" if len(x.tops) <= 1 >= len(y.tops) else f"top[{slot}]", old, new))
    return changes


Wire = tuple[int | None, int]


def _wires(layer: DiffLayer, pairs: dict[int, int] | None, phases: set[int]) -> list[Wire]:
    """What feeds each bottom in these phases, by the layers of B; None is a layer that B lacks."""

    def wire(maker: Maker) -> Wire:
        return (maker[0] if pairs is None else pairs.get(maker[0])), maker[1]

    made = [[maker for phase, maker in makers.items() if phase in phases] for makers in layer.makers]
    wires = [wire(maker) for makers in made for maker in dict.fromkeys(makers)]
    return sorted(wires, key=str) if layer.commutes else wires


def _name_in(b: DiffGraph, makers: dict[int, Maker], pairs: dict[int, int], blob: str) -> str:
    """What the layer of B that is the maker of a blob of A calls that top."""
    for index, slot in makers.values():
        tops = b.layers[pairs[index]].tops if index in pairs else []
        if slot < len(tops):
            return tops[slot]
    return blob


def _is_moved(x: DiffLayer, y: DiffLayer, pairs: dict[int, int]) -> bool:
    sources, readers = [pairs.get(s) for s in x.sources], [pairs.get(r) for r in x.readers]
    known = None not in sources and None not in readers and readers and y.readers
    return bool(known) and not set(sources) & set(y.sources) and not set(readers) & set(y.readers)


# ------------------------------------------------------------------------------------------------ all layers


def _rows(count_a: int, count_b: int, pairs: dict[int, int]) -> list[tuple[int | None, int | None]]:
    """Indices of both nets side by side: B's order, and each layer that only A has after its forerunner in A."""
    partner = {y: x for x, y in pairs.items()}
    behind: dict[int | None, list[int]] = {}
    last: int | None = None
    for x in range(count_a):
        if x in pairs:
            last = x
        else:
            behind.setdefault(last, []).append(x)
    rows: list[tuple[int | None, int | None]] = [(x, None) for x in behind.get(None, [])]
    for y in range(count_b):
        rows.append((partner.get(y), y))
        rows += [(x, None) for x in behind.get(partner.get(y, -1), [])]
    return rows


def _blocks(graph: DiffGraph, shared: set[int], added: bool) -> Iterator[Block]:
    """Layers outside `shared`, those that feed each other in one block."""
    for layers in groups_outside(graph, shared):
        inside = {layer.index for layer in layers}
        yield Block(
            added,
            layers,
            _layers(graph, (s for layer in layers for s in layer.sources if s not in inside)),
            _layers(graph, (r for layer in layers for r in layer.readers if r not in inside)),
        )


def _layers(graph: DiffGraph, indices: Iterator[int]) -> list[DiffLayer]:
    return [graph.layers[index] for index in dict.fromkeys(indices)]
