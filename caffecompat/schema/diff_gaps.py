"""Layers between the same two pairs of layers, paired in their order as lines of a text would be."""

from __future__ import annotations

from collections.abc import Mapping

from caffecompat.schema.diff_graph import DiffGraph, DiffLayer, groups_outside
from caffecompat.schema.diff_likeness import agreement, family

__all__ = ["fill_gaps"]

_SHARE = 0.5  # of the larger side's layers must find a partner, or the two sides are not one thing
_MOST = 250_000  # comparisons of one gap; whole nets without a counterpart are not compared


def fill_gaps(a: DiffGraph, b: DiffGraph, pairs: Mapping[int, int]) -> dict[int, int]:
    """More pairs: of groups of layers without a partner that come after and before layers that are one.

    A branch that two people wrote with one layer more or less in front has no bottom in common; in its order, its
    layers still are each other's.
    """
    found: dict[int, int] = {}
    theirs = groups_outside(b, set(pairs.values()))
    for mine in groups_outside(a, set(pairs)):
        behind, before = ({pairs[index] for index in ends} for ends in _ends(mine))
        for other in theirs:
            sources, readers = _ends(other)
            if behind & sources and before & readers:
                matched = _in_order(mine, other)
                if len(matched) >= _SHARE * max(len(mine), len(other)):
                    found.update(matched)
                    theirs.remove(other)
                    break
    return found


def _ends(group: list[DiffLayer]) -> tuple[set[int], set[int]]:
    """The layers around a group: those that feed it, and those that it feeds."""
    inside = {layer.index for layer in group}
    sources = {source for layer in group for source in layer.sources}
    readers = {reader for layer in group for reader in layer.readers}
    return sources - inside, readers - inside


def _in_order(mine: list[DiffLayer], theirs: list[DiffLayer]) -> dict[int, int]:
    """The likeliest pairs that keep the order of both, by dynamic programming."""
    rows, columns = len(mine), len(theirs)
    if rows * columns > _MOST:
        return {}
    best = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    for i in reversed(range(rows)):
        for j in reversed(range(columns)):
            best[i][j] = max(best[i + 1][j], best[i][j + 1], best[i + 1][j + 1] + _likeness(mine[i], theirs[j]))
    matched: dict[int, int] = {}
    i = j = 0
    while i < rows and j < columns:
        if best[i][j] == best[i + 1][j]:
            i += 1
        elif best[i][j] == best[i][j + 1]:
            j += 1
        else:
            matched[mine[i].index] = theirs[j].index
            i, j = i + 1, j + 1
    return matched


def _likeness(x: DiffLayer, y: DiffLayer) -> float:
    """What pairing two layers is worth; 0 for layers that are no pair."""
    if x.type == y.type:
        return 1 + agreement(x, y)
    return 1.0 if family(x.type) == family(y.type) else 0.0
