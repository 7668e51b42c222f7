"""Caffe's Split layers, for messages and logs: autograd needs none.

Where a value is read more than once Caffe puts a Split layer after its maker
(``util/insert_splits.cpp``). The layers appear in caffemodels, in logs and in
pycaffe's layer list, so their names are made exactly as Caffe makes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from caffecompat.net.graph import AUTOMATIC
from caffecompat.net.layer import NetLayer, Split, Step, Value
from caffecompat.schema import pb

__all__ = ["message_with_splits", "put_splits"]


def put_splits(layers: Sequence[NetLayer]) -> list[Step]:
    """Layers and Splits in Caffe's order, in which no top has more than one reader.

    A loss weight that the prototxt gives counts as a reader and moves to the first top of the Split. The layers learn
    what they read and weigh then: their `split_bottoms` and `split_loss_weights` are set.
    """
    readers = Counter(value for layer in layers for value in layer.known_bottoms)
    splits: dict[Value, Split] = {}
    used: Counter[Value] = Counter()
    steps: list[Step] = []
    for layer in layers:
        layer.split_bottoms = list(layer.bottoms)
        for i, bottom in enumerate(layer.bottom_values):
            if bottom is not None and bottom in splits:
                layer.split_bottoms[i] = splits[bottom].tops[used[bottom]]
                used[bottom] += 1
        steps.append(layer)
        moved = False
        for top, weight in zip(layer.top_values, _stated_weights(layer), strict=True):
            count = readers[top] + bool(weight)
            if count > 1:
                splits[top] = Split(layer, top.slot, count, weight)
                steps.append(splits[top])
                used[top] += bool(weight)
                moved = moved or bool(weight)
        layer.split_loss_weights = [] if moved else list(layer.loss_weights)
    return steps


def _stated_weights(layer: NetLayer) -> list[float]:
    """The loss weight that the prototxt gives each top that it names; 0 where it gives none."""
    stated = [*layer.param.loss_weight, *([0.0] * len(layer.tops))]
    return [0.0 if blob.startswith(AUTOMATIC) else float(w) for blob, w in zip(layer.tops, stated, strict=False)]


def message_with_splits(message: pb.NetParameter, phase: int, steps: Sequence[Step]) -> pb.NetParameter:
    """A net's NetParameter as Caffe saves it: with Split layers, the phase in every layer, losses with weights.

    Args:
        message: the NetParameter that the net was made of.
        steps: the net's layers and Splits.
    """
    saved = type(message)()
    saved.CopyFrom(message)
    del saved.layer[:]
    for step in steps:
        if isinstance(step, Split):
            param = saved.layer.add(name=step.name, type=step.type, bottom=step.split_bottoms, top=step.tops)
            param.loss_weight.extend(step.split_loss_weights)
        else:
            original = message.layer[step.index]
            param = saved.layer.add()
            param.CopyFrom(original)
            param.bottom[:] = step.split_bottoms
            if not step.split_loss_weights:
                del param.loss_weight[:]
            if step.module is not None and step.module.is_loss and not original.loss_weight:
                param.loss_weight.append(1.0)
        param.phase = phase
    return saved
