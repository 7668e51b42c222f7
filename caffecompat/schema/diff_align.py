"""Which layer of one net is which of another: by name, then by type, parameters and place in the graph."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator

from caffecompat.schema.diff_gaps import fill_gaps
from caffecompat.schema.diff_graph import DiffGraph, DiffLayer
from caffecompat.schema.diff_likeness import agreement, family, outlooks

__all__ = ["align"]

_FAR = 3  # a layer may be found this many steps after or before aligned ones, with layers of one net only between
_ENOUGH, _ENOUGH_IN_PLACE = 4.5, 3.5  # scores that make a pair: elsewhere; where all bottoms are those of the other

_OUTLOOK = 0.2  # for each step ahead that looks alike: which of two like branches is which
_ALIKE = 0.5  # agreement of parameters below which a name alone, or a name and a neighbor, make no pair


def align(a: DiffGraph, b: DiffGraph) -> dict[int, int]:
    """Layers of `b` by those of `a` that they are.

    Layers of one name and a like type are one, unless neither their parameters nor anything around them agrees
    (generated names that count: a layer more, and every later name is another's). From these pairs the others grow
    along the graph, the likeliest first; then what lies between the same pairs in both is paired in its order, and
    what stays by name once more.
    """
    grown = _Growth(a, b)
    grown.take(_by_name(a, b))
    grown.grow()
    grown.take(fill_gaps(a, b, grown.pairs))
    grown.take_leftovers()
    return grown.pairs


def _by_name(a: DiffGraph, b: DiffGraph) -> dict[int, int]:
    named: dict[str, list[DiffLayer]] = defaultdict(list)
    for layer in b.layers:
        named[layer.name].append(layer)
    pairs: dict[int, int] = {}
    for mine in a.layers:
        like = [other for other in named[mine.name] if family(other.type) == family(mine.type)]
        if like:
            best = max(like, key=lambda other: _likeness(mine, other))
            pairs[mine.index] = best.index
            named[mine.name].remove(best)
    return {x: y for x, y in pairs.items() if _stands(a.layers[x], b.layers[y], pairs)}


def _likeness(x: DiffLayer, y: DiffLayer) -> tuple[bool, bool, bool]:
    return x.phases == y.phases, x.type == y.type, bool(set(x.phases) & set(y.phases))


def _stands(x: DiffLayer, y: DiffLayer, pairs: dict[int, int]) -> bool:
    """Whether two layers of one name are one layer."""
    if x.type == y.type and x.fields == y.fields:
        return True
    if x.type == y.type and agreement(x, y) < _ALIKE:
        return False  # in its place it finds its partner again
    sources, readers = set(y.sources), set(y.readers)
    return any(pairs.get(s) in sources for s in x.sources) or any(pairs.get(r) in readers for r in x.readers)


class _Growth:
    """Pairs that grow from pair to neighboring pair."""

    def __init__(self, a: DiffGraph, b: DiffGraph) -> None:
        self.a, self.b = a.layers, b.layers
        self.pairs: dict[int, int] = {}
        self.taken: set[int] = set()
        self._outlooks = outlooks(a, b)
        self._queue: list[tuple[float, int, int, int]] = []

    def take(self, pairs: dict[int, int]) -> None:
        self.pairs.update(pairs)
        self.taken.update(pairs.values())

    def grow(self) -> None:
        self._push_sources()
        for x, y in list(self.pairs.items()):
            self._push_around(x, y)
        while self._queue:
            _, _, x, y = heapq.heappop(self._queue)
            if x in self.pairs or y in self.taken:
                continue
            self.take({x: y})
            self._push_around(x, y)

    def take_leftovers(self) -> None:
        """Layers set apart: one name, or the same in everything but the name."""
        for x in self.a:
            if x.index in self.pairs:
                continue
            for y in self.b:
                same = (x.type, x.fields, x.tops) == (y.type, y.fields, y.tops)
                if y.index not in self.taken and (same or (x.name == y.name and x.type == y.type)):
                    self.take({x.index: y.index})
                    break

    def _push_sources(self) -> None:
        """At the start of a net there is no position to compare: inputs are identified by the names of their tops."""
        starts = [y for y in self.b if not y.bottoms and y.index not in self.taken]
        for x in self.a:
            for y in starts if not x.bottoms and x.index not in self.pairs else ():
                if family(x.type) == family(y.type) and x.tops[:1] == y.tops[:1]:
                    self._push(x, y, _ENOUGH + (x.phases == y.phases), 0)

    def _push_around(self, x: int, y: int) -> None:
        for forward in (True, False):
            theirs = list(self._reach(self.b, y, self.taken, forward))
            for mine, far in self._reach(self.a, x, self.pairs, forward):
                for other, also_far in theirs:
                    self._judge(self.a[mine], self.b[other], min(far, also_far) + abs(far - also_far))

    def _reach(
        self, layers: list[DiffLayer], start: int, aligned: dict[int, int] | set[int], forward: bool
    ) -> Iterator[tuple[int, int]]:
        """Layers without a partner, with how many others without one lie between."""
        edge, seen = [start], {start}
        for far in range(_FAR):
            found = [n for at in edge for n in (layers[at].readers if forward else layers[at].sources)]
            edge = []
            for index in found:
                if index not in seen and index not in aligned:
                    seen.add(index)
                    edge.append(index)
                    yield index, far

    def _judge(self, x: DiffLayer, y: DiffLayer, far: int) -> None:
        if family(x.type) != family(y.type) or bool(x.bottoms) != bool(y.bottoms):
            return
        score = 2 + 2 * agreement(x, y) if x.type == y.type else 1.5
        shared = self._shared_sources(x, y)
        score += 2 * shared - 0.5 * far
        if far and not shared:
            score += 1  # its place is that of a neighbor's neighbor
        if any(self.pairs.get(reader) in y.readers for reader in x.readers):
            score += 1
            if shared and self.pairs.get(x.sources[0]) == y.sources[0]:
                score += 1  # it stands between the same two
        if score >= (_ENOUGH_IN_PLACE if shared == 1 else _ENOUGH):
            mine, theirs = self._outlooks[0][x.index], self._outlooks[1][y.index]
            same = sum(left == right for left, right in zip(mine, theirs, strict=True))
            self._push(x, y, score + _OUTLOOK * same, far)

    def _shared_sources(self, x: DiffLayer, y: DiffLayer) -> float:
        """The share of bottoms that come from layers that are one."""
        if not x.sources:
            return 0
        mine = [self.pairs.get(source) for source in x.sources]
        return sum(source in y.sources for source in mine) / max(len(mine), len(y.sources))

    def _push(self, x: DiffLayer, y: DiffLayer, score: float, far: int) -> None:
        heapq.heappush(self._queue, (-score + 1e-4 * abs(x.index - y.index), far, x.index, y.index))
