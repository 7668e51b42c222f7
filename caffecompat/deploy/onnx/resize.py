"""Resize in ONNX, and when a bilinear Deconvolution may become one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from caffecompat.deploy.onnx.emission import Emission, Shape

__all__ = ["bilinear_factor", "emit_resize_for", "resize"]


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


def bilinear_factor(module: Any, parameters: dict[str, np.ndarray], shape: Shape) -> int:
    """The factor f by which a Deconvolution upsamples bilinearly, 0 where it does something else.

    Such a layer has a group for each channel, kernel 2 f - f mod 2, stride f, pad ceil((f - 1) / 2), no bias (or
    zeros), and the weights of BVLC's bilinear filler.
    """
    factor = module.stride[0] if len(module.kernel) == 2 else 0
    wanted = (2 * factor - factor % 2, math.ceil((factor - 1) / 2))
    fits = (
        factor > 1
        and module.axis == 1
        and module.stride == (factor, factor)
        and module.kernel == (wanted[0],) * 2
        and module.pad == (wanted[1],) * 2
        and module.dilation == (1, 1)
        and module.group == shape[1] == parameters["weight"].shape[0]
        and parameters["weight"].shape[1] == 1
    )
    if not fits or ("bias" in parameters and parameters["bias"].any()):
        return 0
    half = math.ceil(wanted[0] / 2)
    centre = (2 * half - 1 - half % 2) / (2 * half)
    line = 1 - np.abs(np.arange(wanted[0]) / half - centre)
    return factor if np.allclose(parameters["weight"], np.outer(line, line), atol=1e-5) else 0


def emit_resize_for(e: Emission, factor: int) -> bool:
    """Write a bilinear Deconvolution as the target's Resize; False where the target has none for the factor."""
    factors = e.limits["bilinear_factors"]
    if factor not in factors or len(e.bottoms) != 1:
        e.note(f"upsampling by {factor} stays a ConvTranspose: {e.target.upper()} resizes by {factors} only")
        return False
    resize(e, e.bottoms[0], e.shape, e.top_shapes[0], "linear", "half_pixel", e.tops[0])
    e.note(
        f"bilinear Deconvolution became a Resize by {factor} (half_pixel): at the borders a deconvolution fades to 0, "
        "a Resize repeats the edge",
        exact=False,
    )
    return True
