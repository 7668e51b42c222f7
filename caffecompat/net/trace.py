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
from caffecompat.formats.atomic import atomic_write
from caffecompat.net.build import NetLayer
from caffecompat.net.graph import Value
from caffecompat.net.net import Net

__all__ = ["MANIFEST", "read_trace", "trace", "write_trace"]

MANIFEST = "layers.json"


@torch.no_grad()
def trace(net: Net, inputs: Mapping[str, Tensor | np.ndarray]) -> Iterator[tuple[NetLayer, list[np.ndarray]]]:
    """Each layer in order with what it made, fed layers too; a blob that later layers write over is its own each time.

    Values are float32 in (N, C, H, W) order.

    Raises:
        CaffeCompatError: a fed blob is missing from `inputs`.
    """
    missing = [blob for blob in net.fed if blob not in inputs]
    if missing:
        raise CaffeCompatError(f"net {net.name!r} needs inputs for {', '.join(map(repr, missing))}")
    net.allow_inplace(False)
    values: dict[Value, Tensor] = {}
    for node, layer in zip(net.graph.nodes, net.layers, strict=True):
        if layer.module is None:
            tops = [net.to_device(inputs[value.blob]) for value in node.tops]
        else:
            made = layer.module(*[values[value] for value in node.bottoms if value is not None])
            tops = list(made) if isinstance(made, tuple) else [made]
        values.update(zip(node.tops, tops, strict=False))
        yield layer, [np.ascontiguousarray(top.cpu().numpy()) for top in tops[: len(node.tops)]]
    net.allow_inplace(True)


def write_trace(net: Net, inputs: Mapping[str, Tensor | np.ndarray], folder: str | os.PathLike[str]) -> int:
    """Write LAYER.npy for every layer, LAYER.TOP.npy where it has several tops, and a list of them; how many.

    What cannot stand in a file's name becomes "_"; the list, ``layers.json``, has the names as they are.
    """
    os.makedirs(folder, exist_ok=True)
    listed: list[dict[str, object]] = []
    taken: set[str] = set()
    for layer, tops in trace(net, inputs):
        for blob, values in zip(layer.tops, tops, strict=True):
            stem = _safe(layer.name if len(tops) == 1 else f"{layer.name}.{blob}", taken)
            with atomic_write(os.path.join(folder, f"{stem}.npy")) as file:
                np.save(file, values, allow_pickle=False)
            entry = {"file": f"{stem}.npy", "layer": layer.name, "type": layer.type, "blob": blob}
            listed.append(entry | {"shape": list(values.shape)})
    with atomic_write(os.path.join(folder, MANIFEST)) as file:
        file.write((json.dumps(listed, indent=1) + "\n").encode())
    return len(listed)


def _safe(name: str, taken: set[str]) -> str:
    """A file name that no other layer has, on systems that ignore case too."""
    stem = re.sub(r"[^\w.-]", "_", name, flags=re.ASCII).lstrip(".-")[:150] or "_"
    unique, count = stem, 1
    while unique.lower() in taken:
        count += 1
        unique = f"{stem}~{count}"
    taken.add(unique.lower())
    return unique


def read_trace(folder: str | os.PathLike[str]) -> dict[str, Path]:
    """The .npy files of a folder by stem, in the order of its list if it has one, else of their names.

    Raises:
        CaffeCompatError: there is no such folder, or nothing in it.
    """
    if not os.path.isdir(folder):
        raise CaffeCompatError(f"{os.fspath(folder)}: no such folder")
    found = {path.stem: path for path in sorted(Path(folder).glob("*.npy"))}
    if not found:
        raise CaffeCompatError(f"{os.fspath(folder)}: no .npy files in it")
    try:
        listed = json.loads((Path(folder) / MANIFEST).read_text())
        order = [os.path.splitext(str(entry["file"]))[0] for entry in listed]
    except (OSError, ValueError, KeyError, TypeError):
        order = []
    return {stem: found[stem] for stem in [*(s for s in order if s in found), *(s for s in found if s not in order)]}
