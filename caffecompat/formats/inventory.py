"""The table of contents of a file of weights, for people and for scripts."""

from __future__ import annotations

from typing import Any

import numpy as np

from caffecompat.formats.weights import StoredBlob, WeightFile, WeightsError

__all__ = ["blob_stats", "inventory"]


def inventory(file: WeightFile, stats: bool = False) -> dict[str, Any]:
    """What a file holds, as values that JSON can take.

    Keys: path, name, format, dialect, size (bytes), parameters, encodings ("float32 packed": blobs), layers, each
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
        "dialect": file.dialect,
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

    Sums are taken in double precision.
    """
    finite = values[np.isfinite(values)] if not np.isfinite(values).all() else values.reshape(-1)
    row: dict[str, Any] = dict.fromkeys(("mean", "std", "min", "max"))
    if finite.size:
        row["mean"] = float(finite.mean(dtype=np.float64))
        row["std"] = float(finite.std(dtype=np.float64))
        row["min"], row["max"] = float(finite.min()), float(finite.max())
    row["zeros"] = 1 - np.count_nonzero(values) / values.size if values.size else 0.0
    row["not_finite"] = values.size - finite.size
    return row
