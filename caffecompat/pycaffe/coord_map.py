"""How the pixels of one blob lie over those of another, and the Crop layer that follows from it.

A map is (axis, a, b): coordinate x in one blob is a·x + b in the other, along the axes after `axis` (a and b may
differ from axis to axis); with axis None, along all. BVLC's ``coord_map.py`` has the same functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from caffecompat.errors import CaffeCompatError
from caffecompat.pycaffe.net_spec import Function, Top
from caffecompat.pycaffe.net_spec import layers as L

__all__ = [
    "PASS_THROUGH_LAYERS",
    "AxisMismatchException",
    "CropError",
    "UndefinedMapException",
    "compose",
    "conv_params",
    "coord_map",
    "coord_map_from_to",
    "crop",
    "crop_params",
    "inverse",
]

Map = tuple[Any, Any, Any]

PASS_THROUGH_LAYERS = [
    "AbsVal", "BatchNorm", "Bias", "BNLL", "Clip", "DropPath", "Dropout", "Eltwise", "ELU", "GELU", "HardSigmoid",
    "HardSwish", "HSwish", "Log", "LRN", "Exp", "Mish", "MVN", "Power", "ReLU", "ReLU6", "PReLU", "Scale", "Sigmoid",
    "SiLU", "Split", "Swish", "TanH", "Threshold",
]  # fmt: skip


class UndefinedMapException(CaffeCompatError):
    """A layer does not keep the order of pixels, as InnerProduct."""


class AxisMismatchException(CaffeCompatError):
    """Two maps start at different axes."""


class CropError(CaffeCompatError, AssertionError):
    """One blob cannot be cropped to another."""


def conv_params(fn: Function) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """First spatial axis, stride, extent of the (dilated) kernel, and padding of a convolution or pooling.

    Raises:
        CropError: sizes are given by ``kernel_h`` and the like.
    """
    params = fn.params.get("convolution_param", fn.params)
    by_side = {"pad_h", "pad_w", "kernel_h", "kernel_w", "stride_h", "stride_w", "hole_h", "hole_w"}
    legacy = sorted(by_side & set(params))
    if legacy:
        raise CropError(f"cropping does not support {', '.join(legacy)}: give lists, as in kernel_size=[3, 5]")
    if "kernel_size" not in params:
        raise UndefinedMapException(f"a {fn.type_name} without kernel_size covers everything")
    hole = params.get("hole", 1)  # DeepLab v1's dilation
    stride, dilation, pad = (
        np.array(params.get(*key), ndmin=1) for key in (("stride", 1), ("dilation", hole), ("pad", 0))
    )
    kernel = (np.array(params["kernel_size"], ndmin=1) - 1) * dilation + 1
    return params.get("axis", 1), stride, kernel, pad


def crop_params(fn: Function) -> tuple[int, np.ndarray]:
    """First cropped axis and offsets of a Crop."""
    params = fn.params.get("crop_param", fn.params)
    return params.get("axis", 2), np.array(params.get("offset", 0), ndmin=1)


def coord_map(fn: Function) -> Map:
    """The map from a layer's bottom to its top.

    Raises:
        UndefinedMapException: there is none.
    """
    if fn.type_name in ("Convolution", "Pooling", "Im2col"):
        axis, stride, kernel, pad = conv_params(fn)
        return axis, 1 / stride, (pad - (kernel - 1) / 2) / stride
    if fn.type_name == "Deconvolution":
        axis, stride, kernel, pad = conv_params(fn)
        return axis, stride, (kernel - 1) / 2 - pad
    if fn.type_name in PASS_THROUGH_LAYERS:
        return None, 1, 0
    if fn.type_name == "Crop":
        axis, offset = crop_params(fn)
        return axis - 1, 1, -offset  # Crop names the first axis it cuts, a map the last one before
    raise UndefinedMapException(f"a {fn.type_name} keeps no order of pixels")


def compose(base_map: Map, next_map: Map) -> Map:
    """First `next_map`, then `base_map`.

    Raises:
        AxisMismatchException: they start at different axes.
    """
    axis, a, b = base_map
    next_axis, next_a, next_b = next_map
    if axis is not None and next_axis is not None and axis != next_axis:
        raise AxisMismatchException(f"one layer's pixels come after axis {axis}, another's after axis {next_axis}")
    return next_axis if axis is None else axis, a * next_a, a * next_b + b


def inverse(coord_map: Map) -> Map:
    """The way back."""
    axis, a, b = coord_map
    return axis, 1 / a, -b / a


def coord_map_from_to(top_from: Top, top_to: Top) -> Map:
    """The map from one top to another, by way of a blob that both depend on.

    Raises:
        RuntimeError: no such blob is reached by layers that keep the order of pixels.
        AxisMismatchException: the ways do not fit together.
    """
    from_maps = dict(_below(top_from))
    for top, found in _below(top_to):
        if top in from_maps:
            return compose(found, inverse(from_maps[top]))
    raise RuntimeError("Could not compute map between tops; are they connected by spatial layers?")


def _below(top: Top) -> Iterator[tuple[Top, Map]]:
    """The top itself and all it depends on by way of layers that have maps, each with the map from it."""
    frontier: list[tuple[Top, Map]] = [(top, (None, 1, 0))]
    seen: set[Top] = set()
    while frontier:
        top, found = frontier.pop()
        if top in seen:
            continue
        seen.add(top)
        yield top, found
        inputs = top.fn.inputs[:1] if top.fn.type_name == "Crop" else top.fn.inputs  # its second gives only the size
        if inputs:
            try:
                below = compose(found, coord_map(top.fn))
            except UndefinedMapException:
                continue
            frontier += [(bottom, below) for bottom in inputs]


def crop(top_from: Top, top_to: Top) -> Top:
    """A Crop layer that cuts `top_from` to the pixels of `top_to`.

    Raises:
        CropError: (an AssertionError) scales differ, or the offset is negative or no whole number.
        RuntimeError, AxisMismatchException: see :func:`coord_map_from_to`.
    """
    axis, a, b = coord_map_from_to(top_from, top_to)
    b = np.asarray(b)
    if not (np.asarray(a) == 1).all():
        raise CropError(f"scale mismatch on crop (a = {a})")
    if not (b <= 0).all():
        raise CropError(f"cannot crop negative offset (b = {b})")
    if not (np.round(b) == b).all():
        raise CropError(f"cannot crop noninteger offset (b = {b})")
    offset = np.atleast_1d(-b).astype(int).tolist()
    made: Top = L.Crop(top_from, top_to, crop_param={"axis": (1 if axis is None else axis) + 1, "offset": offset})
    return made
