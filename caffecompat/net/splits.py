"""Caffe's Split layers, for messages and logs: autograd needs none.

Where a value is read more than once Caffe puts a Split layer behind its maker
(``util/insert_splits.cpp``). The layers appear in caffemodels, in logs and in
pycaffe's layer list, so their names are made here exactly as Caffe makes them.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

__all__ = ["insert_splits", "split_layer_name"]

_Place = tuple[int, int]  # layer, top


def split_layer_name(layer: str, blob: str, slot: int) -> str:
    """Name of the Split behind top number `slot` of a layer; its tops append ``_0``, ``_1``, ..."""
    return f"{blob}_{layer}_{slot}_split"


def insert_splits(message: Any) -> tuple[Any, list[int | None]]:
    """A copy of a filtered NetParameter in which no value has more than one reader.

    An explicit loss weight counts as a reader and moves to the first top of the
    Split. Bottoms that nothing makes are left as they are.

    Returns:
        The copy, and for each of its layers the index in `message` (None for a Split put in).
    """
    source, readers, loss_weight = _readers(message)
    split = type(message)()
    split.CopyFrom(message)
    del split.layer[:]
    origins: list[int | None] = []
    used: Counter[_Place] = Counter()
    for i, original in enumerate(message.layer):
        layer = split.layer.add()
        layer.CopyFrom(original)
        origins.append(i)
        for j, blob in enumerate(original.bottom):
            top = source.get((i, j))
            if top is not None and readers[top] > 1:
                name = split_layer_name(message.layer[top[0]].name, blob, top[1])
                layer.bottom[j] = f"{name}_{used[top]}"
                used[top] += 1
        for j, blob in enumerate(original.top):
            if readers[i, j] > 1:
                weight = loss_weight.get((i, j), 0.0)
                if weight:
                    del layer.loss_weight[:]
                    used[i, j] += 1
                _add_split(split, original.name, blob, j, readers[i, j], weight)
                origins.append(None)
    return split, origins


def _readers(message: Any) -> tuple[dict[_Place, _Place], Counter[_Place], dict[_Place, float]]:
    """The top behind each bottom, how often each top is read (as a loss, too), and the explicit loss weights."""
    maker: dict[str, _Place] = {}
    source: dict[_Place, _Place] = {}
    readers: Counter[_Place] = Counter()
    loss_weight: dict[_Place, float] = {}
    for i, layer in enumerate(message.layer):
        for j, blob in enumerate(layer.bottom):
            if blob in maker:
                source[i, j] = maker[blob]
                readers[maker[blob]] += 1
        for j, blob in enumerate(layer.top):
            maker[blob] = (i, j)
            if j < len(layer.loss_weight) and layer.loss_weight[j]:
                loss_weight[i, j] = layer.loss_weight[j]
                readers[i, j] += 1
    return source, readers, loss_weight


def _add_split(net: Any, layer: str, blob: str, slot: int, count: int, loss_weight: float) -> None:
    name = split_layer_name(layer, blob, slot)
    split = net.layer.add(name=name, type="Split", bottom=[blob], top=[f"{name}_{k}" for k in range(count)])
    if loss_weight:
        split.loss_weight.extend([loss_weight] + [0.0] * (count - 1))
