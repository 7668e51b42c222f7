"""Named arrays in one file: NumPy's .npz, and .safetensors.

Weights of a net are in them as ``layer.index``: ``conv1.0`` is the first blob of layer conv1. A safetensors file has no
order of its own; the library that writes it puts wider types first, then sorts by name.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from caffecompat.errors import brief
from caffecompat.formats.arrays import check_numbers, read_npy
from caffecompat.formats.atomic import atomic_path, atomic_write
from caffecompat.formats.weights import WeightsError, open_weights

__all__ = ["ARCHIVES", "as_layers", "as_names", "read_archive", "read_blobs", "write_archive"]

ARCHIVES = (".npz", ".safetensors")


def read_archive(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """All arrays of a .npz or .safetensors file, in its order; 16-bit floats (float16, bfloat16) become float32.

    Raises:
        WeightsError: the file is something else, or damaged.
    """
    name = os.fspath(path)
    try:
        arrays = _read_npz(name) if name.endswith(".npz") else _read_safetensors(name)
    except FileNotFoundError:
        raise WeightsError(f"{name}: no such file") from None
    except Exception as problem:  # whatever zipfile, zlib, NumPy and safetensors say about a damaged file
        raise WeightsError(f"{name}: not a readable {os.path.splitext(name)[1]} file ({brief(problem)})") from problem
    return {key: _wide(values) for key, values in arrays.items()}


def read_blobs(path: str | os.PathLike[str]) -> dict[str, list[np.ndarray]]:
    """Blobs by layer of a caffemodel, HDF5, .safetensors or .npz file.

    An archive whose names are not LAYER.INDEX counts as layers with one blob each.

    Raises:
        WeightsError: the file cannot be read.
    """
    name = os.fspath(path)
    if not name.endswith(ARCHIVES):
        return open_weights(name).load()
    arrays = read_archive(name)
    layers = as_layers(arrays)
    return layers if layers is not None else {name: [values] for name, values in arrays.items()}


def write_archive(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name, in little-endian order; an old file stays whole until the new one is complete.

    Raises:
        WeightsError: the format has no such type of values.
        WriteError: the file cannot be written.
    """
    if not os.fspath(path).endswith(".safetensors"):
        with atomic_write(path) as file:
            np.savez(file, allow_pickle=False, **arrays)
        return
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    # The library writes the memory of an array as it lies there.
    plain = {key: np.asarray(values, values.dtype.newbyteorder("<"), order="C") for key, values in arrays.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(plain, temporary)
        except (SafetensorError, KeyError, TypeError, ValueError) as problem:
            raise WeightsError(f"{os.fspath(path)}: cannot be written as safetensors ({problem})") from problem


def _read_npz(name: str) -> dict[str, np.ndarray]:
    arrays = {}
    with zipfile.ZipFile(name) as archive:
        for entry in archive.infolist():
            key = entry.filename.removesuffix(".npy")
            try:
                with archive.open(entry) as file:
                    arrays[key] = read_npy(file, entry.file_size)
                    if file.read(1):  # at the end the checksum is looked at
                        raise ValueError("there is more in it than the array")
            except Exception as problem:
                raise ValueError(f"array {key!r}: {brief(problem)}") from problem
    return arrays


def _read_safetensors(name: str) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError, deserialize, safe_open

    try:
        with safe_open(name, framework="numpy") as file:
            kinds = {key: file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118 -- not a dict
            short: dict[str, Any] = {}
            if "BF16" in kinds.values():  # of which NumPy has none
                with open(name, "rb") as whole:
                    short = dict(deserialize(whole.read()))
            return {
                key: _from_bfloat16(short[key]) if kind == "BF16" else _get(file, key, kind)
                for key, kind in kinds.items()
            }
    except SafetensorError as problem:
        raise ValueError(str(problem)) from problem


def _get(file: Any, key: str, kind: str) -> np.ndarray:
    try:
        values: np.ndarray = file.get_tensor(key)
    except AttributeError:  # the library looks for numpy.float8_...
        raise ValueError(f"array {key!r} has values of type {kind}, which NumPy has not") from None
    check_numbers(values.dtype)
    return values


def _from_bfloat16(entry: Mapping[str, Any]) -> np.ndarray:
    """An array as float32, whose upper half bfloat16 is."""
    bits = np.frombuffer(entry["data"], "<u2").astype("<u4") << 16
    values: np.ndarray = bits.view("<f4").reshape(entry["shape"])
    return values


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
