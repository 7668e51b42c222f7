"""Blobs and diffs of a net in the arrangements that weight files have."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from caffecompat.forks import Fork
from caffecompat.net.layer import NetLayer, Shape
from caffecompat.net.params import LearnableParam

__all__ = ["blobs_by_layer", "diffs_by_layer", "save_hdf5"]


def blobs_by_layer(layers: Sequence[NetLayer]) -> dict[str, list[np.ndarray]]:
    """The parameter blobs of each layer that has any, in Caffe's order, as float32 arrays in C order."""
    return {
        layer.name: [np.asarray(slot.tensor().cpu().numpy(), order="C") for slot in layer.slots]
        for layer in layers
        if layer.slots
    }


def save_hdf5(
    path: str | os.PathLike[str],
    layers: Sequence[NetLayer],
    names: Sequence[str],
    diffs: Mapping[str, list[np.ndarray]] | None,
    fork: Fork | None = None,
) -> None:
    """Write Caffe's HDF5 form: a group for each layer in `names`, those without blobs included.

    Raises:
        CaffeCompatError: the file cannot be written; an old one stays whole.
    """
    from caffecompat.formats.hdf5_weights import save_hdf5_weights

    own_diffs = _owned_blobs(layers, names, diffs) if diffs is not None else None
    save_hdf5_weights(path, _owned_blobs(layers, names, blobs_by_layer(layers)), own_diffs, fork)


def _owned_blobs(
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
