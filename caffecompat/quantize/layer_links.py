"""Which layers read which, by blob names, as the Xilinx tool sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from caffecompat.schema import pb

__all__ = ["first_of", "is_in_place", "readers", "readers_before_split"]

Layers = Sequence[pb.LayerParameter]


def is_in_place(layer: pb.LayerParameter) -> bool:
    """Whether a layer writes its only top over its only bottom."""
    return len(layer.bottom) == 1 and list(layer.bottom) == list(layer.top)


def readers(layers: Layers, at: int) -> list[int]:
    """Places of the later layers that read a top of layer `at` by name, whatever wrote over it in between."""
    tops = set(layers[at].top)
    return [place for place in range(at + 1, len(layers)) if tops & set(layers[place].bottom)]


def readers_before_split(layers: Layers, at: int) -> list[int]:
    """Places of the layers that read layer `at`'s top as long as a single one does at a time.

    Where two layers read the same value, Caffe puts a Split between, and the name of the blob changes.
    """
    found: list[int] = []
    blob, place = layers[at].top[0], at
    while True:
        using = list(_uses(layers, place, blob))
        if len(using) != 1:
            return found
        place = using[0]
        found.append(place)
        if blob not in layers[place].top:
            return found


def _uses(layers: Layers, at: int, blob: str) -> Iterator[int]:
    """Places of the layers that read the value that layer `at` gave a blob."""
    for place in range(at + 1, len(layers)):
        if blob in layers[place].bottom:
            yield place
        if blob in layers[place].top:
            return


def first_of(layers: Layers, places: Sequence[int], holds: Callable[[pb.LayerParameter], bool]) -> int | None:
    """The first of the places whose layer fulfils a condition."""
    return next((place for place in places if holds(layers[place])), None)
