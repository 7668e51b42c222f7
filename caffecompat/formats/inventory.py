"""The table of contents of a file of weights, for people and for scripts."""

from __future__ import annotations

from typing import Any

import numpy as np

from caffecompat.formats.weights import StoredBlob, WeightFile, WeightsError

__all__ = ["blob_stats", "inventory"]


_PIECE = 1 << 18


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
