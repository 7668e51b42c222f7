"""The table of contents of a file of weights, for people and for scripts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from caffecompat.formats.archives import read_blobs
from caffecompat.formats.weights import StoredBlob, WeightFile, WeightsError, open_weights

__all__ = ["BlobSummary", "blob_stats", "inventory", "list_weights", "summarize_weights"]

_PIECE = 1 << 18


@dataclass(frozen=True)
class BlobSummary:
    """Statistics of one blob of a file of weights.

    Attributes:
        name: LAYER.INDEX.
        mean, std, min, max: over the finite values; None where there are none.
        zeros: share of the values that are 0, from 0 to 1.
        not_finite: how many values are NaN or infinity.
    """

    name: str
    shape: list[int]
    mean: float | None
    std: float | None
    min: float | None
    max: float | None
    zeros: float
    not_finite: int


def summarize_weights(path: str | os.PathLike[str]) -> list[BlobSummary]:
    """Statistics of every blob of a file of weights: .caffemodel, .h5, .safetensors or .npz.

    Args:
        path: of the file.

    Raises:
        CaffeCompatError: the file cannot be read.

    >>> import caffecompat
    >>> first = caffecompat.summarize_weights("net.caffemodel")[0]
    >>> (first.name, first.shape, f"{first.zeros:.1%}", first.not_finite)
    ('conv.0', [4, 3, 3, 3], '97.2%', 0)
    """
    return [
        BlobSummary(f"{layer}.{index}", list(blob.shape), **blob_stats(blob))
        for layer, blobs in read_blobs(path).items()
        for index, blob in enumerate(blobs)
    ]


def list_weights(path: str | os.PathLike[str], *, stats: bool = False) -> dict[str, Any]:
    """What a .caffemodel or .caffemodel.h5 holds, layer by layer, as values that JSON can take.

    Args:
        path: of the file.
        stats: also mean, std, min, max and share of zeros of every blob.

    Returns:
        Keys as of `caffecompat.formats.inventory.inventory`: path, name, format, fork, size (bytes), parameters,
        encodings and layers, each with name, type and blobs.

    Raises:
        WeightsError: the file cannot be read; of a blob, its entry has a "problem" instead.

    >>> import caffecompat
    >>> listed = caffecompat.list_weights("net.caffemodel")
    >>> (listed["parameters"], [(layer["name"], len(layer["blobs"])) for layer in listed["layers"]])
    (624, [('data', 0), ('conv', 2), ('fc', 1), ('prob', 0)])
    """
    return inventory(open_weights(path), stats)


def inventory(file: WeightFile, stats: bool = False) -> dict[str, Any]:
    """What a file holds, as values that JSON can take.

    Keys: path, name, format, fork, size (bytes), parameters, encodings ("float32 packed": blobs), layers, each
    with name, type, blobs; a blob has shape, legacy, dtype, encoding, count, diff (whether it has gradients), with
    `stats` also those of `blob_stats`, and `problem` where its values cannot be read.
    """
    layers = [
        {"name": layer.name, "type": layer.type, "blobs": [_blob(blob, stats) for blob in layer.blobs]}
        for layer in file.layers
    ]
    encodings: dict[str, int] = {}
    for layer in file.layers:
        for blob in layer.blobs:
            if blob is not None:
                key = f"{blob.dtype.name} {blob.encoding}" + (", legacy shape" if blob.legacy else "")
                encodings[key] = encodings.get(key, 0) + 1
    return {
        "path": file.path,
        "name": file.name,
        "format": file.format,
        "fork": file.fork.name if file.fork else None,
        "size": file.size,
        "parameters": sum(blob.count for layer in file.layers for blob in layer.blobs if blob is not None),
        "encodings": encodings,
        "layers": layers,
    }


def _blob(blob: StoredBlob | None, stats: bool) -> dict[str, Any] | None:
    if blob is None:
        return None
    row: dict[str, Any] = {
        "shape": list(blob.shape),
        "legacy": blob.legacy,
        "dtype": blob.dtype.name,
        "encoding": blob.encoding,
        "count": blob.count,
    }
    try:
        row["diff"] = blob.has_diff
        if stats:
            row.update(blob_stats(blob.array()))
        else:
            blob.check()
    except WeightsError as problem:
        row["problem"] = str(problem)
    return row


def blob_stats(values: np.ndarray) -> dict[str, Any]:
    """mean, std, min, max over the finite values (None if there are none), the share of zeros, how many are not finite.

    Sums are taken in double precision, piece by piece: no copy of the array is made.
    """
    flat = values.reshape(-1)
    pieces = [flat[at : at + _PIECE] for at in range(0, flat.size, _PIECE)]
    finite = [piece if np.isfinite(piece).all() else piece[np.isfinite(piece)] for piece in pieces]
    finite = [piece for piece in finite if piece.size]
    count = sum(piece.size for piece in finite)
    row: dict[str, Any] = dict.fromkeys(("mean", "std", "min", "max"))
    if count:
        mean = sum(float(piece.sum(dtype=np.float64)) for piece in finite) / count
        squares = sum(float(np.square(piece.astype(np.float64) - mean).sum()) for piece in finite)
        row["mean"], row["std"] = mean, (squares / count) ** 0.5
        row["min"] = min(float(piece.min()) for piece in finite)
        row["max"] = max(float(piece.max()) for piece in finite)
    row["zeros"] = 1 - np.count_nonzero(flat) / flat.size if flat.size else 0.0
    row["not_finite"] = flat.size - count
    return row
