"""Named arrays in one file: NumPy's .npz, and .safetensors.

Weights of a net are in them as ``layer.index``: ``conv1.0`` is the first blob of layer conv1. A safetensors file is
eight bytes of header length, a JSON header with type, shape and place of every array, and their values side by side
(the format's own specification); read here without the package of that name.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np

from caffecompat.formats.atomic import atomic_write
from caffecompat.formats.weights import WeightsError

__all__ = ["ARCHIVES", "as_layers", "as_names", "read_archive", "write_archive"]

ARCHIVES = (".npz", ".safetensors")
_LONGEST_HEADER = 100 << 20
_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1",
          "BOOL": "?"}  # fmt: skip
_NAMES = {np.dtype(text): name for name, text in _TYPES.items()}


def read_archive(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """All arrays of a .npz or .safetensors file, in its order; 16-bit floats become float32.

    Raises:
        WeightsError: the file is something else, or damaged.
    """
    name = os.fspath(path)
    try:
        arrays = _read_npz(name) if name.endswith(".npz") else _read_safetensors(name)
    except FileNotFoundError:
        raise WeightsError(f"{name}: no such file") from None
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as problem:
        raise WeightsError(f"{name}: not a {os.path.splitext(name)[1]} file, or damaged ({problem})") from problem
    return {key: _wide(values) for key, values in arrays.items()}


def write_archive(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name; an old file stays whole until the new one is complete.

    Raises:
        WeightsError: the format has no such type of values.
        WriteError: the file cannot be written.
    """
    name = os.fspath(path)
    with atomic_write(path) as file:
        if name.endswith(".npz"):
            np.savez(file, allow_pickle=False, **arrays)
            return
        header, at = {}, 0
        for key, values in arrays.items():
            kind = _NAMES.get(values.dtype.newbyteorder("<"))
            if kind is None:
                raise WeightsError(f"{name}: safetensors has no values of type {values.dtype} (array {key!r})")
            header[key] = {"dtype": kind, "shape": list(values.shape), "data_offsets": [at, at + values.nbytes]}
            at += values.nbytes
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        file.write(len(text).to_bytes(8, "little") + text)
        for values in arrays.values():
            file.write(np.ascontiguousarray(values).tobytes())


def _read_npz(name: str) -> dict[str, np.ndarray]:
    with np.load(name, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def _read_safetensors(name: str) -> dict[str, np.ndarray]:
    with open(name, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _LONGEST_HEADER:
            raise ValueError(f"a header of {length} bytes")
        header = json.loads(file.read(length))
    data = np.memmap(name, mode="r", offset=8 + length) if os.path.getsize(name) > 8 + length else np.empty(0, np.uint8)
    arrays = {}
    for key, entry in header.items():
        if key == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        if not 0 <= begin <= end <= data.size:
            raise ValueError(f"{key!r} ends at {end}, the file has {data.size} bytes of values")
        values = data[begin:end]
        if entry["dtype"] == "BF16":
            bits = values.view("<u2").astype("<u4") << 16
            arrays[key] = bits.view("<f4").reshape(entry["shape"])
        else:
            arrays[key] = values.view(_TYPES[entry["dtype"]]).reshape(entry["shape"])
    return arrays


def _wide(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32) if values.dtype == np.float16 else np.asarray(values)


def as_names(blobs: Mapping[str, Sequence[np.ndarray]]) -> dict[str, np.ndarray]:
    """Blobs by layer as arrays by name, ``layer.index``."""
    return {f"{layer}.{index}": blob for layer, own in blobs.items() for index, blob in enumerate(own)}


def as_layers(arrays: Mapping[str, np.ndarray]) -> dict[str, list[np.ndarray]] | None:
    """The reverse of `as_names`; None where a name is not of that form, or the blobs of a layer have gaps."""
    layers: dict[str, dict[int, np.ndarray]] = {}
    for key, values in arrays.items():
        layer, dot, index = key.rpartition(".")
        if not dot or not index.isdecimal() or values.dtype.kind != "f":
            return None
        layers.setdefault(layer, {})[int(index)] = values
    if any(sorted(own) != list(range(len(own))) for own in layers.values()):
        return None
    return {layer: [own[index] for index in range(len(own))] for layer, own in layers.items()}
