"""Every layer's output for one input, in files: what a board computed can be held against it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from caffecompat.errors import CaffeCompatError
from caffecompat.files import read_json
from caffecompat.formats.arrays import read_array
from caffecompat.formats.atomic import atomic_write, make_folder
from caffecompat.net.graph import needed_layers
from caffecompat.net.layer import NetLayer, Value
from caffecompat.net.net import Net
from caffecompat.net.precision import compute, in_single
from caffecompat.net.tidl_trace import TidlTrace, find_traces, write_tidl_trace

__all__ = ["MANIFEST", "NpyFile", "Trace", "computed_outputs", "read_traces", "trace", "value_names", "write_trace"]

MANIFEST = "layers.json"


@torch.no_grad()
def trace(net: Net, inputs: Mapping[str, Tensor | np.ndarray]) -> Iterator[tuple[NetLayer, list[np.ndarray]]]:
    """Each layer in order with what it made, fed layers too; a blob that later layers write over is its own each time.

    Values are float32 in (N, C, H, W) order.

    Raises:
        CaffeCompatError: a fed blob is missing from `inputs`.
    """
    fed = net.fed_tensors(inputs)
    values: dict[Value, Tensor] = {}
    net.allow_inplace(False)
    try:
        for layer in net.layers:
            if layer.module is None:
                tops = [fed[value.blob] for value in layer.top_values]
            else:
                made = compute(layer, [values[value] for value in layer.known_bottoms])
                tops = list(made) if isinstance(made, tuple) else [made]
            values.update(zip(layer.top_values, tops, strict=False))
            yield layer, [np.ascontiguousarray(in_single(top).cpu().numpy()) for top in tops[: len(layer.top_values)]]
    finally:
        net.allow_inplace(True)


def write_trace(
    net: Net, inputs: Mapping[str, Tensor | np.ndarray], folder: str | os.PathLike[str], *, tidl: bool = False
) -> int:
    """Write LAYER.npy for every layer, LAYER.TOP.npy where it has several tops, and a list of them; how many.

    What cannot be part of a file's name becomes "_"; the list, ``layers.json``, has the names as they are, and as
    "value" what an exported ONNX model calls the same.

    Args:
        tidl: write the files as TIDL does instead (see ``tidl_trace``), under those names of values.
    """
    names = value_names(net)
    if tidl:
        made = trace(net, inputs)
        pairs = ((names[value], array) for layer, tops in made
                 for value, array in zip(layer.top_values, tops, strict=True))  # fmt: skip
        return write_tidl_trace(folder, pairs)
    make_folder(folder)
    listed: list[dict[str, object]] = []
    taken: set[str] = set()
    for layer, tops in trace(net, inputs):
        for value, array in zip(layer.top_values, tops, strict=True):
            stem = _safe(layer.name if len(tops) == 1 else f"{layer.name}.{value.blob}", taken)
            with atomic_write(os.path.join(folder, f"{stem}.npy")) as file:
                np.save(file, array, allow_pickle=False)
            entry = {"file": f"{stem}.npy", "layer": layer.name, "type": layer.type, "blob": value.blob}
            listed.append(entry | {"value": names[value], "shape": list(array.shape)})
    with atomic_write(os.path.join(folder, MANIFEST)) as file:
        file.write((json.dumps(listed, indent=1) + "\n").encode())
    return len(listed)


def computed_outputs(net: Net) -> list[Value]:
    """The outputs that are no inputs which nothing reads."""
    return [value for value in net.graph.outputs if net.layers[value.maker].module is not None]


def value_names(net: Net, *, needed_alone: bool = False) -> dict[Value, str]:
    """What an exported model calls each value: as the blob, but ``blob@layer`` where a later layer changes the blob.

    Args:
        needed_alone: leave out layers that no output needs, as exported models do.
    """
    layers = net.layers
    if needed_alone:
        layers = [layers[index] for index in sorted(needed_layers(layers, computed_outputs(net)))]
    values = [value for layer in layers for value in layer.top_values]
    fed = {value.blob for value in values if net.layers[value.maker].module is None}
    last = {value.blob: value for value in values}
    names = {}
    for value in values:
        plain = net.layers[value.maker].module is None or (last[value.blob] is value and value.blob not in fed)
        blob = value.blob or "unnamed"  # Caffe takes "" for a name, ONNX for an input left out
        names[value] = blob if plain else f"{blob}@{net.layers[value.maker].name}"
    return names


def _safe(name: str, taken: set[str]) -> str:
    """A file name that no other layer has, on systems that ignore case too."""
    stem = re.sub(r"[^\w.-]", "_", name, flags=re.ASCII).lstrip(".-")[:150] or "_"
    unique, count = stem, 1
    while unique.lower() in taken:
        count += 1
        unique = f"{stem}~{count}"
    taken.add(unique.lower())
    return unique


class NpyFile:
    """A blob in a .npy file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> np.ndarray:
        """The values.

        Raises:
            CaffeCompatError: the file cannot be read.
        """
        return read_array(self.path)


Trace = Mapping[str, NpyFile | TidlTrace]


def read_traces(first: str | os.PathLike[str], second: str | os.PathLike[str]) -> tuple[Trace, Trace]:
    """The blobs of two folders by name, in the order of the folders' lists; a board's are named as the other's.

    Each folder has .npy files, as `write_trace` leaves them, or TIDL's traces.

    Raises:
        CaffeCompatError: there is no such folder, or nothing in it.
    """
    found = [_read(first), _read(second)]
    for board, desktop, folder in ((found[0], found[1], second), (found[1], found[0], first)):
        if any(isinstance(file, TidlTrace) for file in board.values()) and any(
            isinstance(file, NpyFile) for file in desktop.values()
        ):
            stems = _stems_by_value(folder)
            renamed = {stems.get(name, name): file for name, file in board.items()}
            board.clear()
            board.update(renamed)
    aliases = _aliases(_listed(first), _listed(second))
    named = {aliases[stem]: file for stem, file in found[1].items() if stem in aliases}
    return found[0], {stem: file for stem, file in found[1].items() if stem not in aliases} | named


def _read(folder: str | os.PathLike[str]) -> dict[str, NpyFile | TidlTrace]:
    if not os.path.isdir(folder):
        raise CaffeCompatError(f"{os.fspath(folder)}: no such folder")
    found = {path.stem: NpyFile(path) for path in sorted(Path(folder).glob("*.npy"))}
    if not found:
        traces = find_traces(folder)
        if not traces:
            raise CaffeCompatError(f"{os.fspath(folder)}: no .npy files in it, and no traces of TIDL")
        return dict(traces)
    order = [os.path.splitext(str(entry.get("file")))[0] for entry in _listed(folder)]
    return {stem: found[stem] for stem in [*(s for s in order if s in found), *(s for s in found if s not in order)]}


def _listed(folder: str | os.PathLike[str]) -> list[dict[str, object]]:
    """The entries of a folder's list, their values as text; none where it has no list."""
    path = Path(folder) / MANIFEST
    if not path.is_file():
        return []
    listed = read_json(path, "the list of blobs")
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise CaffeCompatError(f"{path}: expected a list with an entry for each blob, as dump-blobs writes it")
    return [{name: str(value) for name, value in entry.items()} for entry in listed]


def _aliases(first: list[dict[str, object]], second: list[dict[str, object]]) -> dict[str, str]:
    """Stems of the second list's files whose values are those of another file in the first, and that file's stem.

    Where normalizations were folded, a blob has fewer layers that write it, or one of another name: each layer of both
    nets, with those after it that one net alone has, ends with the same values, and so do the layers before them.
    """
    ends = [_last_writers(first, second), _last_writers(second, first)]
    return {ends[1][key]: stem for key, stem in ends[0].items() if ends[1].get(key, stem) != stem}


def _last_writers(own: list[dict[str, object]], other: list[dict[str, object]]) -> dict[tuple[str, str], str]:
    """By blob and layer of both lists ("" before the first such): the last file until the next one."""
    both = {(entry.get("blob"), entry.get("file")) for entry in other}
    shared: dict[str, str] = {}
    last = {}
    for entry in own:
        blob, stem = str(entry.get("blob")), os.path.splitext(str(entry.get("file")))[0]
        if (entry.get("blob"), entry.get("file")) in both:
            shared[blob] = stem
        last[blob, shared.get(blob, "")] = stem
    return last


def _stems_by_value(folder: str | os.PathLike[str]) -> dict[str, str]:
    """File stems by the names that an exported model has for the values, and for their layers."""
    entries = [(os.path.splitext(str(entry.get("file")))[0], entry) for entry in _listed(folder)]
    stems = {str(entry.get("layer")): stem for stem, entry in entries}
    return stems | {str(entry.get("value")): stem for stem, entry in entries}
