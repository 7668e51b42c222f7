"""Blobs and diffs of a net in the arrangements that weight files have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from caffecompat.net.build import NetLayer, Shape
from caffecompat.net.params import LearnableParam

__all__ = ["diffs_by_layer", "owned_blobs"]


def owned_blobs(
    layers: Sequence[NetLayer], names: Sequence[str], blobs: Mapping[str, list[np.ndarray]]
) -> dict[str, list[np.ndarray | None]]:
    """As HDF5 files have blobs: an entry for every layer in `names`, None for what another layer owns."""
    slots = {layer.name: layer.slots for layer in layers if layer.slots}
    return {
        name: [
            array if slot.owner is None else None
            for array, slot in zip(blobs.get(name, []), slots.get(name, []), strict=True)
        ]
        for name in names
    }


def diffs_by_layer(
    layers: Sequence[NetLayer], params: Sequence[LearnableParam], diffs: Mapping[int, Tensor]
) -> dict[str, list[np.ndarray]]:
    """Diffs given by position in `params` as arrays by layer, with zeros for blobs without one."""
    by_blob = {id(params[position].blob): diff for position, diff in diffs.items()}

    def stored(diff: Tensor | None, shape: Shape) -> np.ndarray:
        if diff is None:
            return np.zeros(shape, np.float32)
        return np.ascontiguousarray(diff.detach().cpu().numpy()).reshape(shape)

    return {
        layer.name: [stored(by_blob.get(id(slot.parameter)), slot.shape) for slot in layer.slots]
        for layer in layers
        if layer.slots
    }
