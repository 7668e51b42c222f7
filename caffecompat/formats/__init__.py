"""Bytes on disk: one module a format, reader and writer side by side."""

from __future__ import annotations

from caffecompat.formats.caffemodel import load_caffemodel, open_caffemodel, save_caffemodel
from caffecompat.formats.weights import LayerWeights, StoredBlob, WeightFile, WeightsError, open_weights

__all__ = [
    "LayerWeights",
    "StoredBlob",
    "WeightFile",
    "WeightsError",
    "load_caffemodel",
    "open_caffemodel",
    "open_weights",
    "save_caffemodel",
]
