"""Layers of a net that belong together, and blocks of them that come several times in a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from os.path import commonpath

from caffecompat.schema import pb

__all__ = ["Read", "Repeat", "Unit", "find_repeats", "make_units"]

_OWN = ("name", "bottom", "top", "param", "blobs", "include", "exclude", "loss_weight", "propagate_down")
_LONGEST = 150  # units of a block
_LEAST = 4  # layers that a repeat must save to be worth it


@dataclass(frozen=True)
class Read:
    """A value that a unit reads: who makes it, and its blob's name."""

    unit: int
    blob: str


@dataclass
class Unit:
    """A layer, with those after it that only work on what it makes: BatchNorm, Scale, ReLU.

    Attributes:
        layers: indices of the net's layers, in order.
        reads: what it reads of other units.
    """

    layers: list[int]
    reads: list[Read] = field(default_factory=list)


@dataclass(frozen=True)
class Repeat:
    """`count` blocks of the same structure in a row, each of `length` units; the first begins with unit `start`."""

    start: int
    length: int
    count: int

    @property
    def end(self) -> int:
        """The unit after the last block."""
        return self.start + self.length * self.count


def make_units(
    layers: Sequence[pb.LayerParameter], joins: Callable[[pb.LayerParameter], bool] = lambda layer: False
) -> list[Unit]:
    """The net's layers in units, in an order in which each reads what earlier ones make.

    A layer joins the unit that makes its only bottom where nothing else reads that value, if it works in place or
    `joins` says so.
    """
    version: Counter[str] = Counter()
    readers: Counter[tuple[str, int]] = Counter()
    reads = []
    for layer in layers:
        reads.append([(blob, version[blob]) for blob in layer.bottom])
        readers.update(reads[-1])
        version.update(set(layer.top))
    units: list[Unit] = []
    makers: dict[tuple[str, int], int] = {}
    version.clear()
    for index, layer in enumerate(layers):
        made_by = [makers.get(value, -1) for value in reads[index]]
        version.update(set(layer.top))
        alone = len(layer.bottom) == len(layer.top) == 1 and made_by[0] >= 0 and readers[reads[index][0]] == 1
        home = made_by[0] if alone and (layer.bottom[0] == layer.top[0] or joins(layer)) else -1
        if home >= 0 and list(layers[units[home].layers[-1]].top) == list(layer.bottom):
            units[home].layers.append(index)
        else:
            home = len(units)
            known = [(unit, blob) for unit, (blob, _) in zip(made_by, reads[index], strict=True) if unit >= 0]
            units.append(Unit([index], [Read(*each) for each in known]))
        makers.update({(blob, version[blob]): home for blob in layer.top})
    return units


def find_repeats(layers: Sequence[pb.LayerParameter], units: Sequence[Unit]) -> list[Repeat]:
    """Blocks that come several times in a row, in order; no two of them overlap.

    Blocks are the same where their layers have the same types, settings and connections; numbers of outputs, fillers
    and names may differ. Of the places where a block may begin those count where the fewest values go from one to the
    next, as between two residual blocks.
    """
    numbers: dict[tuple[object, ...], int] = {}
    tokens = [_token(layers, unit, index, numbers) for index, unit in enumerate(units)]
    crossing = _crossing(units)
    sizes = [len(unit.layers) for unit in units]
    names = [layers[unit.layers[0]].name for unit in units]

    def search(low: int, high: int) -> list[Repeat]:
        best, most = None, 0.0
        for length in range(1, min(_LONGEST, (high - low) // 2) + 1):
            for start, end in _runs(tokens, units, length, low, high):
                repeat = _placed(start, end, length, crossing, names)
                saved = sum(sizes[repeat.start + length : repeat.end])
                worth = saved * (1 - 1 / repeat.count)  # three small blocks rather than two of three each
                if saved >= _LEAST and worth > most:
                    best, most = repeat, worth
        if best is None:
            return []
        return [*search(low, best.start), best, *search(best.end, high)]

    return search(0, len(units))


def _token(
    layers: Sequence[pb.LayerParameter], unit: Unit, index: int, numbers: dict[tuple[object, ...], int]
) -> tuple[int, tuple[int, ...]]:
    """What a unit computes, as a number, and how far back the units are that it reads."""
    key = tuple(_settings(layers[each]) for each in unit.layers)
    return numbers.setdefault(key, len(numbers)), tuple(index - read.unit for read in unit.reads)


def _settings(layer: pb.LayerParameter) -> bytes:
    """A layer's type and settings, without those in which repeated blocks may differ."""
    copy = pb.LayerParameter()
    copy.CopyFrom(layer)
    for name in _OWN:
        copy.ClearField(name)
    for block, value in copy.ListFields():
        if not block.name.endswith("_param"):
            continue
        for inner, _ in value.ListFields() if hasattr(value, "ListFields") else ():
            if inner.name == "num_output" or inner.name.endswith("_filler"):
                value.ClearField(inner.name)
            elif inner.name == "group":
                value.group = min(value.group, 2)  # channels alone, or several together
    return bytes(copy.SerializeToString(deterministic=True))


def _runs(
    tokens: Sequence[tuple[int, tuple[int, ...]]], units: Sequence[Unit], length: int, low: int, high: int
) -> list[tuple[int, int]]:
    """(start, end) of stretches of units each of which is like the one `length` before it."""

    def alike(at: int) -> bool:
        (kind, back), (other, its_back) = tokens[at], tokens[at + length]
        if kind != other or len(back) != len(its_back):
            return False
        # What is read from further away than a block comes from outside of it.
        return all(min(a, length + 1) == min(b, length + 1) for a, b in zip(back, its_back, strict=True))

    found, start = [], low
    for at in range(low, high - length + 1):
        if at + length < high and alike(at):
            continue
        if at - start >= length:
            found.append((start, at + length))
        start = at + 1
    return found


def _placed(start: int, end: int, length: int, crossing: Sequence[int], names: Sequence[str]) -> Repeat:
    """As many blocks as fit, begun where the fewest values go from one to the next.

    Of several such places, where names differ most from one to the next (conv4_1/sep, conv4_2/dw), and the earliest.
    """

    def cost(repeat: Repeat) -> tuple[int, int, int, int]:
        edges = range(repeat.start, repeat.end + 1, length)
        values = [crossing[at] for at in edges]
        alike = sum(len(commonpath([names[at - 1], names[at]])) for at in edges if 0 < at < len(names))
        return max(values), -repeat.count, sum(values), alike

    most = (end - start) // length
    places = [
        Repeat(first, length, count)
        for count in (most, most - 1)
        if count > 1
        for first in range(start, end - count * length + 1)
    ]
    return min(places, key=cost)


def _crossing(units: Sequence[Unit]) -> list[int]:
    """How many values go from before each unit to it or later ones; one number more than units."""
    last: dict[Read, int] = {}
    for index, unit in enumerate(units):
        last.update(dict.fromkeys(unit.reads, index))
    steps = [0] * (len(units) + 2)
    for read, end in last.items():
        steps[read.unit + 1] += 1
        steps[end + 1] -= 1
    counts = [steps[0]]
    for _, step in pairwise(steps):
        counts.append(counts[-1] + step)
    return counts[: len(units) + 1]
