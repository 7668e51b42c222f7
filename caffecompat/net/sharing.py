"""Nets that compute with the same parameters, as a training's test nets do (BVLC ``ShareTrainedLayersWith``)."""

from __future__ import annotations

from collections.abc import Sequence

from caffecompat.net.build import NetLayer
from caffecompat.net.problems import NetError

__all__ = ["share_weights"]


def share_weights(layers: Sequence[NetLayer], others: Sequence[NetLayer]) -> None:
    """Let layers use the parameters of those of another net that have the same name.

    Raises:
        NetError: counts or shapes differ; every difference at once.
    """
    mine: dict[str, NetLayer] = {}
    for layer in layers:
        mine.setdefault(layer.name, layer)
    problems = []
    for theirs in others:
        own = mine.get(theirs.name)
        if own is None:
            continue
        shapes, their_shapes = [s.shape for s in own.slots], [s.shape for s in theirs.slots]
        if shapes != their_shapes:
            problems.append(f"layer {own.name!r} cannot share its blobs: {shapes} here, {their_shapes} there")
            continue
        for slot, their_slot in zip(own.slots, theirs.slots, strict=True):
            if slot.owner is None or slot.owner.shape == slot.shape:
                slot.share(their_slot.parameter)
        if own.module is not None:
            own.module.weights_loaded()  # their statistics are not this net's to start anew
    if problems:
        raise NetError(problems)
