"""Resize in ONNX, in each opset."""

from __future__ import annotations

import numpy as np

from caffecompat.deploy.onnx.emission import Emission, Shape

__all__ = ["resize"]


def resize(
    e: Emission, value: str, before: Shape, shape: Shape, mode: str, coordinates: str, to: str | None = None
) -> str:
    """A value in a new size of its last two axes.

    Args:
        before, shape: the static shapes of the value and of the result.
        mode: "linear" or "nearest" (which rounds down).
        coordinates: ONNX's coordinate_transformation_mode.
    """
    if e.builder.opset < 11:
        return _resize_by_matrices(e, value, before[2:], shape[2:], mode, coordinates, to)
    nearest = "floor" if mode == "nearest" else None
    sizes = e.ints(list(shape), "sizes")
    return e.op(
        "Resize",
        value,
        "",
        "",
        sizes,
        to=to,
        mode=mode,
        coordinate_transformation_mode=coordinates,
        nearest_mode=nearest,
    )


def _resize_by_matrices(
    e: Emission, value: str, before: Shape, after: Shape, mode: str, coordinates: str, to: str | None
) -> str:
    """As `resize`, by what opset 9 has: its Resize knows no modes of coordinates.

    Rows and columns are gathered, or are products with the weights of linear interpolation.
    """
    if mode == "nearest":
        rows, columns = (np.arange(made) * size // made for size, made in zip(before, after, strict=True))
        gathered = e.op("Gather", value, e.ints(rows, "rows"), axis=2)
        return e.op("Gather", gathered, e.ints(columns, "columns"), to=to, axis=3)
    down, across = (_weights(size, made, coordinates) for size, made in zip(before, after, strict=True))
    return e.op("MatMul", e.const(down, what="down"), e.op("MatMul", value, e.const(across.T, what="across")), to=to)


def _weights(size: int, made: int, coordinates: str) -> np.ndarray:
    """The weights (made, size) of linear interpolation along an axis (ONNX Resize's align_corners and half_pixel)."""
    steps = np.arange(made)
    if coordinates == "align_corners":
        places = steps * ((size - 1) / (made - 1) if made > 1 else 0)
    else:
        places = (steps + 0.5) * (size / made) - 0.5
    places = places.clip(0, size - 1)
    low = np.floor(places).astype(int)
    weights = np.zeros((made, size))
    np.add.at(weights, (steps, low), 1 - (places - low))
    np.add.at(weights, (steps, np.minimum(low + 1, size - 1)), places - low)
    return weights
