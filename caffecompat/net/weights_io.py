"""Weights of a net in and out of files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from caffecompat import glog
from caffecompat.formats import save_caffemodel
from caffecompat.net.layer import NetLayer, Shape
from caffecompat.net.params import LearnableParam
from caffecompat.net.weights import LoadReport, WeightPaths, copy_weights, weight_paths

if TYPE_CHECKING:
    from caffecompat.net.net import Net

__all__ = ["blobs_by_layer", "load", "save", "start_from"]


def load(net: Net, paths: WeightPaths, *, skip_mismatched: bool = False) -> LoadReport:
    """Copy weights into a net (see :meth:`caffecompat.Net.load_weights`)."""
    known = {step.name for step in net.steps}
    report = copy_weights(net.layers, known, weight_paths(paths), skip_mismatched=skip_mismatched, log=net.log)
    net.weights_writer = report.writer or net.weights_writer
    if report.trained_as not in (None, net.fork):
        named, file = report.trained_as, weight_paths(paths)[-1]
        glog.warning(
            f"{file}: trained under the rules of {named.value}, named by the user; this run follows those of "
            f"{net.fork.value} (--fork {named.name.lower()}, or fork=, chooses the same)"
        )
    return report


def start_from(net: Net, paths: WeightPaths, *, skip_mismatched: bool) -> LoadReport:
    """Give a fresh net, whose blobs are not filled, the weights of files; fill blobs that these do not have."""
    try:
        report = load(net, paths, skip_mismatched=skip_mismatched)
    except BaseException:
        net.close()
        raise
    for layer in net.layers:
        if layer.module is not None:
            layer.module.fill_blobs()
    return report


def blobs_by_layer(layers: Sequence[NetLayer]) -> dict[str, list[np.ndarray]]:
    """The parameter blobs of each layer that has any, in Caffe's order, as float32 arrays in C order."""
    return {
        layer.name: [np.asarray(slot.tensor().cpu().numpy(), order="C") for slot in layer.slots]
        for layer in layers
        if layer.slots
    }


def save(net: Net, path: str | os.PathLike[str], *, diffs: Mapping[int, Tensor] | None, raw: bool, hdf5: bool) -> None:
    """Write a net's weights (see :meth:`caffecompat.Net.save`)."""
    blobs = blobs_by_layer(net.layers)
    stored_diffs = _diffs_by_layer(net.layers, net.params, diffs) if diffs is not None else None
    fork = net.fork_choice.stored
    if not hdf5 and not os.fspath(path).endswith(".h5"):
        save_caffemodel(path, net.message_with_splits(), blobs, stored_diffs, raw=raw, fork=fork)
        return
    from caffecompat.formats.hdf5_weights import save_hdf5_weights

    # Caffe's HDF5 form has a group for each layer, those without blobs included.
    names = [step.name for step in net.steps]
    own_diffs = _owned_blobs(net.layers, names, stored_diffs) if stored_diffs is not None else None
    save_hdf5_weights(path, _owned_blobs(net.layers, names, blobs), own_diffs, fork)


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


def _diffs_by_layer(
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
