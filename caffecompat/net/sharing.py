"""Nets that compute with the same parameters, as a training's test nets do (BVLC ``ShareTrainedLayersWith``)."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

from torch import nn

from caffecompat import glog
from caffecompat.net.layer import NetLayer
from caffecompat.net.params import BlobSlot
from caffecompat.net.problems import NetError

__all__ = ["share_weights"]


def share_weights(layers: Sequence[NetLayer], others: Sequence[NetLayer]) -> None:
    """Let layers use the parameters of those of another net that have the same name.

    Layers that share a parameter with one of these by ``param { name }`` follow it, whichever of them
    owns it. (BVLC leaves those that the other net lacks with the values that the owner had before.)

    Raises:
        NetError: counts or shapes differ; every difference at once, and nothing is shared.
    """
    mine: dict[str, NetLayer] = {}
    for layer in layers:
        mine.setdefault(layer.name, layer)
    problems = []
    given: dict[BlobSlot, nn.Parameter] = {}
    for theirs in others:
        own = mine.get(theirs.name)
        if own is None:
            continue
        shapes, their_shapes = [s.shape for s in own.slots], [s.shape for s in theirs.slots]
        if shapes != their_shapes:
            problems.append(f"layer {own.name!r} cannot share its blobs: {shapes} here, {their_shapes} there")
            continue
        given |= {slot: their.parameter for slot, their in zip(own.slots, theirs.slots, strict=True)}
    if problems:
        raise NetError(problems)
    # What the slots of a group of sharers follow, by its owner: the owner's new parameter, or else the first one's.
    by_owner = {slot.owner or slot: parameter for slot, parameter in reversed(given.items())} | given
    for layer in layers:
        followed = [(slot, given.get(slot, by_owner.get(slot.owner or slot))) for slot in layer.slots]
        for slot, parameter in followed:
            if parameter is not None:
                slot.share(parameter)
        if layer.module is not None and any(parameter is not None for _, parameter in followed):
            layer.module.weights_loaded()  # their statistics are not this net's to start again
    _warn_of_names(layers, others, by_owner)


def _warn_of_names(layers: Sequence[NetLayer], others: Sequence[NetLayer], shared: Container[BlobSlot]) -> None:
    """Parameters of one name in two nets look shared; but nets share by the names of layers, as in Caffe."""
    theirs = {name: layer.name for layer in others for name, _ in _names(layer)}
    for layer in layers:
        for name, slot in _names(layer):
            if name in theirs and (slot.owner or slot) not in shared:
                glog.warning(
                    f"layer {layer.name!r} does not share its parameter {name!r} with layer {theirs[name]!r} of the "
                    "other net: nets share by the names of layers; give both layers one name"
                )


def _names(layer: NetLayer) -> Iterator[tuple[str, BlobSlot]]:
    for spec, slot in zip(layer.param.param, layer.slots, strict=False):
        if spec.name:
            yield spec.name, slot
