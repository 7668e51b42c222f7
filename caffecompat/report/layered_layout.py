"""Places for the boxes and arrows of a layered graph, in the manner of Sugiyama.

Nodes get ranks along the direction of flow, long edges are cut into pieces from rank to rank, each rank is ordered
so that few edges cross, and then its nodes move toward what they are joined with as far as their neighbors allow.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Layout", "lay_out"]

Point = tuple[float, float]
Size = tuple[float, float]

_GAP, _RANK_GAP = 18.0, 34.0  # between nodes of a rank; between ranks
_ARROW = 10.0  # of an edge next to its label
_SWEEPS = 6
_STRAIGHT = 8.0  # how much more a piece of a long edge insists on its place than a node
_LONG = 0.3  # of the ranks: an edge that long (a label's, say) passes the net by
_FAST = 100.0  # how much more a node on the axis does
_AT_END = 0.05  # how much less a node with nothing after it does: an in-place ReLU pushes nothing aside


@dataclass
class Layout:
    """(along, across) of every node's center and of every edge's bends, by edge index; `size` of the whole."""

    centers: dict[str, Point]
    bends: list[list[Point]]
    size: Size


def lay_out(sizes: Mapping[str, Size], edges: Sequence[tuple[str, str]], labels: Sequence[float] = ()) -> Layout:
    """Place nodes of sizes (along, across).

    Args:
        sizes: by key, in an order in which edges mostly lead forward; those that do not are turned for the layout.
        labels: room along that each edge's label needs after the edge's start; none where there are no labels.
    """
    order = {key: index for index, key in enumerate(sizes)}
    forward = [(a, b) if order[a] <= order[b] else (b, a) for a, b in edges]
    ranks = _rank(list(sizes), forward)
    extents: dict[str, Size] = dict(sizes)
    chains = [_chain(index, edge, ranks, extents) for index, edge in enumerate(forward)]
    rows: list[list[str]] = [[] for _ in range(max(ranks.values(), default=-1) + 1)]
    for key, rank in ranks.items():
        rows[rank].append(key)
    above: dict[str, list[str]] = defaultdict(list)
    below: dict[str, list[str]] = defaultdict(list)
    for chain in chains:
        for a, b in pairwise(chain):
            below[a].append(b)
            above[b].append(a)
    _order_rows(rows, above, below)
    passing = {key for chain in chains if len(chain) > _LONG * len(rows) for key in chain[1:-1]}
    across = _place_rows(rows, extents, above, below, passing)
    gaps = [_RANK_GAP] * len(rows)
    for (a, _), room in zip(forward, labels, strict=bool(labels)):
        gaps[ranks[a]] = max(gaps[ranks[a]], room + _ARROW)
    along, depths, at = [], [], 0.0
    for row, gap in zip(rows, gaps, strict=True):
        depths.append(max(extents[key][0] for key in row))
        along.append(at + depths[-1] / 2)
        at += depths[-1] + gap
    least = min((across[key] - extents[key][1] / 2 for key in across), default=0.0)
    most = max((across[key] + extents[key][1] / 2 for key in across), default=0.0)
    places = {key: (along[ranks[key]], across[key] - least) for key in across}
    # An edge runs straight past the nodes of a rank, and turns between the ranks alone.
    bends = [
        [(places[key][0] + side * depths[ranks[key]] / 2, places[key][1]) for key in chain[1:-1] for side in (-1, 1)]
        for chain in chains
    ]
    turned = [list(reversed(bend)) if order[a] > order[b] else bend for bend, (a, b) in zip(bends, edges, strict=True)]
    return Layout({key: places[key] for key in sizes}, turned, (max(at - gaps[-1], 0.0) if gaps else 0.0, most - least))


def _rank(keys: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """The longest way to each node; what nothing leads to comes right before what it leads to."""
    into: dict[str, list[str]] = defaultdict(list)
    out: dict[str, list[str]] = defaultdict(list)
    for a, b in edges:
        if a != b:
            into[b].append(a)
            out[a].append(b)
    ranks: dict[str, int] = {}
    for key in keys:
        ranks[key] = max((ranks[before] + 1 for before in into[key]), default=0)
    for key in reversed(keys):
        if not into[key] and out[key]:
            ranks[key] = min(ranks[after] for after in out[key]) - 1
    return ranks


def _chain(index: int, edge: tuple[str, str], ranks: dict[str, int], extents: dict[str, Size]) -> list[str]:
    """The nodes that an edge passes, with one of no depth for each rank between; these are added to the others."""
    a, b = edge
    chain = [a]
    for rank in range(ranks[a] + 1, ranks[b]):
        key = f"\0{index}:{rank}"
        ranks[key], extents[key] = rank, (0.0, 4.0)
        chain.append(key)
    return [*chain, b]


def _order_rows(rows: list[list[str]], above: Mapping[str, list[str]], below: Mapping[str, list[str]]) -> None:
    """Sort every row by the mean position of its neighbors, down and up in turn."""
    position = {key: float(index) for row in rows for index, key in enumerate(row)}
    for sweep in range(_SWEEPS):
        neighbors = above if sweep % 2 == 0 else below
        for row in rows if sweep % 2 == 0 else reversed(rows):
            row.sort(key={k: _mean([position[n] for n in neighbors[k]], position[k]) for k in row}.__getitem__)
            position.update((key, float(index)) for index, key in enumerate(row))


def _place_rows(
    rows: list[list[str]],
    extents: Mapping[str, Size],
    above: Mapping[str, list[str]],
    below: Mapping[str, list[str]],
    passing: Collection[str],
) -> dict[str, float]:
    """Centers across: every node as near to its neighbors' mean as the order of its row allows.

    Where all of the net passes through one node, that node is on the axis; blocks that lean to one side would
    otherwise lead the net away, the further the deeper it is.

    Args:
        passing: pieces of edges that do not count as part of the net there.
    """
    places = {key: 0.0 for row in rows for key in row}
    inner = [[key for key in row if below[key] and key not in passing] for row in rows]
    axis = {nodes[0] for nodes in inner if len(nodes) == 1}
    for sweep in range(_SWEEPS):
        neighbors = above if sweep % 2 == 0 else below
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wanted = [0.0 if key in axis else _mean([places[n] for n in neighbors[key]], places[key]) for key in row]
            weights = [_STRAIGHT if key[0] == "\0" else 1.0 if below[key] else _AT_END for key in row]
            weights = [_FAST if key in axis else weight for key, weight in zip(row, weights, strict=True)]
            widths = [extents[key][1] for key in row]
            for key, place in zip(row, _spread(wanted, weights, widths), strict=True):
                places[key] = place
    return places


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _spread(wanted: Sequence[float], weights: Sequence[float], widths: Sequence[float]) -> list[float]:
    """Centers nearest to those wanted (least squares) that keep the order and the gaps.

    Less the room that the ones before it take, each center must not be smaller than the one before: an isotonic
    regression, solved by pooling neighbors that are in each other's way.
    """
    offsets = [0.0]
    for a, b in pairwise(widths):
        offsets.append(offsets[-1] + (a + b) / 2 + _GAP)
    pools: list[list[float]] = []  # mean, weight, count
    for want, weight, offset in zip(wanted, weights, offsets, strict=True):
        pools.append([want - offset, weight, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            mean, heavy, count = pools.pop()
            last = pools[-1]
            last[0] = (last[0] * last[1] + mean * heavy) / (last[1] + heavy)
            last[1] += heavy
            last[2] += count
    free = [pool[0] for pool in pools for _ in range(int(pool[2]))]
    return [place + offset for place, offset in zip(free, offsets, strict=True)]
