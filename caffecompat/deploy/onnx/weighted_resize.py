"""Planes resized by weighted sums in ONNX, where Resize gives other values."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from caffecompat.deploy.onnx.emission import Emission, Shape

_FEW = 3  # as many pixels are weighed one by one, more by a product with a matrix


def weigh_plane(e: Emission, value: str, sizes: Shape, axes: list[tuple[Tensor, Tensor]]) -> str:
    for axis, size, (places, weights) in zip((2, 3), sizes, axes, strict=True):
        value = _weigh(e, value, axis, size, places.numpy(), weights.numpy())
    return value


def _weigh(e: Emission, value: str, axis: int, size: int, places: np.ndarray, weights: np.ndarray) -> str:
    """The weighted sums (see `weigh_axis`) along axis 2 or 3, which has `size` values."""
    taps = [tap for tap in range(places.shape[1]) if weights[:, tap].any()] or [0]
    if len(taps) > _FEW:
        matrix = np.zeros((len(places), size))
        np.add.at(matrix, (np.arange(len(places))[:, None], places), weights)
        if axis == 2:
            return e.op("MatMul", e.const(matrix, what="down"), value)
        return e.op("MatMul", value, e.const(matrix.T, what="across"))
    parts = []
    for tap in taps:
        part = e.op("Gather", value, e.ints(places[:, tap], "places"), axis=axis)
        if (weights[:, tap] != 1).any():
            shares = weights[:, tap].reshape((1, 1, -1, 1) if axis == 2 else (1, 1, 1, -1))
            part = e.op("Mul", part, e.const(shares, what="shares"))
        parts.append(part)
    made = parts[0]
    for part in parts[1:]:
        made = e.op("Add", made, part)
    return made
