"""A comparison of two nets in sentences, for terminal and page; each sentence knows the layers that it names."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from caffecompat.schema.diff import Block, LayerDiff, NetDiff
from caffecompat.schema.diff_fields import FieldChange
from caffecompat.schema.diff_graph import DiffLayer

__all__ = ["Named", "Sentence", "block_text", "change_text", "field_sentences", "layer_sentences"]

_TYPES = 5  # of a block's layers named before "N of other types"
_FILLERS = 2  # kinds of them that one net leaves out listed one by one
_NO_FILLER = "(not set: 0)"
_DATA_FIELDS = ("_data_param.", "transform_param.", "data_param.", "dummy_data_param")
_TRAINING_FIELDS = ("_filler", "fillers", "param[", "loss_weight", "propagate_down")


@dataclass(frozen=True)
class Named:
    """A layer in a sentence; `row` is its place in ``NetDiff.layers``."""

    text: str
    row: int


@dataclass
class Sentence:
    """A sentence.

    Attributes:
        kind: "added", "removed", "renamed", "moved", "changed", or "" for what is about no kind of change.
        pieces: its words, and the layers in them.
        names: layers or other things listed at its end, of which a screen shows as many as it has room for.
        section: "layers", "shapes" or "weights".
        more: it replaces sentences left out for length.
    """

    kind: str
    pieces: list[str | Named]
    names: list[Named | str] = field(default_factory=list)
    section: str = "layers"
    more: bool = False

    @property
    def text(self) -> str:
        """Its words without the list."""
        return "".join(piece if isinstance(piece, str) else piece.text for piece in self.pieces)


SIGNS = {"added": "+", "removed": "-", "renamed": "=", "moved": ">", "changed": "~", "": " "}


def counted(count: int, what: str = "layer") -> str:
    """ "1 layer", "2 layers"."""
    return f"{count} {what}{'s' if count != 1 else ''}"


def _value(value: str | None) -> str:
    return "(not set)" if value is None else value


def change_text(change: FieldChange) -> str:
    """ "path: old -> new"."""
    return f"{change.path}: {_value(change.a)} -> {_value(change.b)}"


def field_sentences(changes: Iterable[FieldChange]) -> list[Sentence]:
    """A sentence a field."""
    return [Sentence("changed", [change_text(change)]) for change in changes]


def layer_sentences(diff: NetDiff, most: int | None = None) -> list[Sentence]:
    """Blocks, renames, moves, wiring and fields; what holds of many layers is given once, with how many.

    Args:
        most: sentences of wiring, and of fields, before the rest is summed up; None: no limit.
    """
    return _Sentences(diff, most).all()


class _Sentences:
    """Sentences about the layers of one comparison."""

    def __init__(self, diff: NetDiff, most: int | None) -> None:
        self.diff, self.most = diff, most
        self.rows = {("a", row.a.index): at for at, row in enumerate(diff.layers) if row.a is not None}
        self.rows |= {("b", row.b.index): at for at, row in enumerate(diff.layers) if row.b is not None}
        self.often = Counter(row.b.name for row in diff.layers if row.b is not None)
        self.places = {id(row): at for at, row in enumerate(diff.layers)}

    def all(self) -> list[Sentence]:
        return [*self._blocks(), *self._renamed(), *self._moved(), *self._fields()]

    def _name(self, row: LayerDiff) -> Named:
        """A layer by its name in B; where two layers of B share it, with its phases."""
        layer = row.b or row.a
        assert layer is not None
        text = layer.name or "(no name)"
        if self.often[layer.name] > 1 and len(layer.phases) == 1:
            text += " (TRAIN)" if layer.phases == (0,) else " (TEST)"
        return Named(text, self.places[id(row)])

    def _of(self, layer: DiffLayer, added: bool) -> Named:
        return Named(layer.name or "(no name)", self.rows["b" if added else "a", layer.index])

    # -------------------------------------------------------------------------------------- of one net only

    def _blocks(self) -> list[Sentence]:
        alike: dict[tuple[bool, tuple[str, ...]], list[Block]] = defaultdict(list)
        for block in self.diff.blocks:
            alike[block.added, tuple(layer.type for layer in block.layers)].append(block)
        return [sentences for group in alike.values() for sentences in self._block_group(group)]

    def _block_group(self, group: list[Block]) -> list[Sentence]:
        added = group[0].added
        kind = "added" if added else "removed"
        if len(group) == 1:
            return [Sentence(kind, _linked(block_text(group[0]), self._ends(group[0])))]
        types = [_kind(layer) for layer in group[0].layers]
        if len(types) == 1:
            names: list[Named | str] = [self._of(block.layers[0], added) for block in group]
            return [Sentence(kind, [f"{len(group)} {types[0]} {kind}{_between(group)}"], names)]
        spans = [f"{block.layers[0].name} to {block.layers[-1].name}" for block in group]
        firsts = [self._of(block.layers[0], added).row for block in group]
        what = " and ".join(types) if len(types) <= 2 else ", ".join(types[:_TYPES])
        what += f" and {len(types) - _TYPES} more" if len(types) > _TYPES else ""
        text = f"{len(group)} times {what} {kind}{_between(group)}"
        return [Sentence(kind, [text], [Named(*span) for span in zip(spans, firsts, strict=True)])]

    def _ends(self, block: Block) -> list[Named]:
        side = "b" if block.added else "a"
        around = [*block.layers[:1], *block.layers[-1:], *block.sources, *block.readers]
        return [Named(layer.name, self.rows[side, layer.index]) for layer in around]

    # ----------------------------------------------------------------------------- of both, in another place

    def _renamed(self) -> list[Sentence]:
        pairs: list[Named | str] = [
            Named(f"{row.a.name or '(no name)'} -> {row.b.name or '(no name)'}", self.places[id(row)])
            for row in self.diff.renamed
            if row.a and row.b
        ]
        return [Sentence("renamed", [f"renamed {counted(len(pairs))}"], pairs)] if pairs else []

    def _moved(self) -> list[Sentence]:
        sentences, explained = [], set[int]()
        tops: dict[int, set[str]] = {}
        for first, second in self.diff.swapped:
            sentences.append(
                Sentence("moved", [self._name(first), " now comes before ", self._name(second), ", not after it"])
            )
            explained |= {id(first), id(second)}
            both = {top for row in (first, second) if row.b for top in row.b.tops}
            tops |= {id(row): both for row in self.diff.layers if row.b and first.b and second.b
                     and {first.b.index, second.b.index} & set(row.b.sources)}  # fmt: skip
        for row in self.diff.layers:
            if row.rewired is None or id(row) in explained or row.b is None:
                continue
            old, new = set(row.fed_before) - set(row.b.bottoms), set(row.b.bottoms) - set(row.fed_before)
            if old | new and old | new <= tops.get(id(row), set()):
                continue  # the two before it have changed places
            verb = " moved: " if row.moved else " rewired: "
            sentences.append(Sentence("moved" if row.moved else "changed", [self._name(row), verb, _wiring(row)]))
        shown = self._shown(sentences)
        rest = len(sentences) - len(shown)
        return shown + (
            [Sentence("changed", [f"and {counted(rest, 'other layer')} rewired"], more=True)] if rest else []
        )

    def _shown(self, sentences: list[Sentence]) -> list[Sentence]:
        return sentences if self.most is None or len(sentences) <= self.most + 1 else sentences[: self.most]

    # ------------------------------------------------------------------------------- of both, in other words

    def _fields(self) -> list[Sentence]:
        holders: dict[FieldChange, list[LayerDiff]] = defaultdict(list)
        everywhere = [(change, row) for row in self.diff.layers for change in _changes(row)]
        for change, holder in _fillers_in_short(everywhere):
            holders[change].append(holder)
        together: dict[tuple[int, ...], list[FieldChange]] = defaultdict(list)
        for change, rows in holders.items():
            together[tuple(map(id, rows))].append(change)
        by_id = {id(row): row for row in self.diff.layers}
        groups = [([by_id[key] for key in keys], changes) for keys, changes in together.items()]
        groups.sort(key=lambda group: (not (group[0][0].b and group[0][0].b.bottoms), min(map(_weight, group[1]))))
        sentences = [self._group(rows, changes) for rows, changes in groups]
        shown = self._shown(sentences)
        if len(shown) < len(sentences):
            rest = groups[len(shown) :]
            count = sum(len(changes) for _, changes in rest)
            layers = len({id(row) for rows, _ in rest for row in rows})
            shown.append(Sentence("changed", [f"and {counted(count, 'other change')} in {counted(layers)}"], more=True))
        return shown

    def _group(self, rows: list[LayerDiff], changes: list[FieldChange]) -> Sentence:
        """Changes that the same layers have."""
        texts = []
        before = ""
        for change in sorted(changes, key=_weight):
            outer = change.path.rpartition(".")[0]
            text = change_text(change)
            texts.append(text.removeprefix(f"{outer}.") if outer and outer == before else text)
            before = outer
        names: list[Named | str] = [self._name(row) for row in rows]
        if len(rows) == 1 and len(texts) > 1:
            return Sentence("changed", [names[0], ": ", ", ".join(texts)])
        if len(rows) == 1:
            return Sentence("changed", [texts[0], "  in ", names[0]])
        return Sentence("changed", [f"{', '.join(texts)}  in {counted(len(rows))}"], names)


def block_text(block: Block) -> str:
    """A block of layers that only one net has."""
    names = [layer.name or "(no name)" for layer in block.layers]
    verb = "added" if block.added else "removed"
    place = ", ".join(
        f"{word} {_some(around)}" for word, around in (("after", block.behind), ("before", block.before)) if around
    )
    if len(names) == 1:
        return f"{_kind(block.layers[0])} {verb}: {names[0]}" + (f" ({place})" if place else "")
    what = f"decoder {verb}" if block.is_decoder else verb
    kinds = ", ".join(f"{count} {kind}" for kind, count in block.types[:_TYPES])
    rest = sum(count for _, count in block.types[_TYPES:])
    kinds += f", {rest} of other types" if rest else ""
    where = f"{counted(len(names))} from {names[0]} to {names[-1]}"
    return f"{what}: {where}" + (f", {place}" if place else "") + f": {kinds}"


def _kind(layer: DiffLayer) -> str:
    """A layer's type; of a Python layer also its class."""
    return f"{layer.type} {layer.fields.get('python_param.layer', '')}".rstrip()


def _some(names: Sequence[str]) -> str:
    return ", ".join(names if len(names) <= 4 else [*names[:3], f"and {len(names) - 3} more"])


def _linked(text: str, names: Sequence[Named]) -> list[str | Named]:
    """A text in which layers are named, taken apart at these names."""
    pieces: list[str | Named] = [text]
    for name in sorted(names, key=lambda each: -len(each.text)):
        for at, piece in enumerate(pieces):
            if isinstance(piece, str) and name.text and f" {name.text}" in piece:
                start = piece.index(f" {name.text}") + 1
                end = start + len(name.text)
                if piece[end : end + 1] in ("", ",", ")", ":", " "):
                    pieces[at : at + 1] = [piece[:start], name, piece[end:]]
                break
    return [piece for piece in pieces if piece != ""]


def _between(group: Sequence[Block]) -> str:
    """What surrounds all blocks of a group, by type."""
    around = [
        [", ".join(dict.fromkeys(layer.type for layer in ends)) for ends in (block.sources, block.readers)]
        for block in group
    ]
    behind, before = ({ends[at] for ends in around} for at in (0, 1))
    if len(behind) == len(before) == 1 and all(around[0]):
        return f", each between {around[0][0]} and {around[0][1]}"
    return ""


def _wiring(row: LayerDiff) -> str:
    assert row.b is not None
    old, new = row.fed_before, row.b.bottoms
    gone, come = [b for b in old if b not in new], [b for b in new if b not in old]
    if come and not gone and len(new) > len(old):
        return f"also reads {', '.join(come)}"
    if gone and not come and len(new) < len(old):
        return f"no longer reads {', '.join(gone)}"
    return f"bottom {', '.join(old) or 'none'} -> {', '.join(new) or 'none'}"


def _changes(row: LayerDiff) -> list[FieldChange]:
    """The changes of a layer; those inside a filler as one of the filler."""
    changes: list[FieldChange] = []
    fillers: dict[str, FieldChange] = {}
    for change in row.changes:
        name, found, _ = change.path.partition("_filler.")
        if not found or row.a is None or row.b is None:
            changes.append(change)
        else:
            path = f"{name}_filler"
            fillers[path] = FieldChange(path, _filler(row.a, path), _filler(row.b, path))
    return [*changes, *fillers.values()]


def _filler(layer: DiffLayer, path: str) -> str:
    """What a layer says of a filler, in short."""
    own = {key.removeprefix(f"{path}."): text for key, text in layer.fields.items() if key.startswith(f"{path}.")}
    if not own:
        return _NO_FILLER
    return " ".join([own.pop("type", '"constant"'), *(f"{key} {text}" for key, text in own.items())])


def _fillers_in_short(changes: list[tuple[FieldChange, LayerDiff]]) -> list[tuple[FieldChange, LayerDiff]]:
    """Many fillers that one of the nets leaves out, as a deploy prototxt does, become one change."""
    left_out = {c for c, _ in changes if _NO_FILLER in (c.a, c.b)}
    if len(left_out) <= _FILLERS:
        return changes
    short: dict[tuple[FieldChange, int], LayerDiff] = {}
    rest = []
    for change, row in changes:
        if change in left_out:
            ends = ("(not set)", "set") if change.a == _NO_FILLER else ("set", "(not set)")
            short[FieldChange("fillers", *ends), id(row)] = row
        else:
            rest.append((change, row))
    return [*rest, *((change, row) for (change, _), row in short.items())]


def _weight(change: FieldChange) -> int:
    """What a reader should see first: the net itself, then wiring and phases, data, and what only training uses."""
    if change.path == "type":
        return 0
    if any(part in change.path for part in _TRAINING_FIELDS):
        return 4
    if any(part in change.path for part in _DATA_FIELDS):
        return 3
    return 1 if "." in change.path else 2
