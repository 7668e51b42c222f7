"""ONNX of convolution, deconvolution and Im2col."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from caffecompat.deploy.onnx.emission import Emission, Shape, emits

if TYPE_CHECKING:
    from caffecompat.layers.convolution import Convolution, Deconvolution


@emits("Convolution")
def convolution(e: Emission) -> None:
    """Conv, one for each bottom."""
    _convolve(e, "Conv")


def _convolve(e: Emission, op: str) -> None:
    """Conv or ConvTranspose, one for each bottom."""
    m = e.module
    for bottom, top, shape, made in zip(e.bottoms, e.tops, e.bottom_shapes, e.top_shapes, strict=True):
        weights = [e.parameter("weight")] + ([e.parameter("bias")] if m.bias is not None else [])
        _batched(e, op, bottom, weights, shape, made, top, _attributes(m, m.group))


def _attributes(module: Convolution | Deconvolution, group: int) -> dict[str, Any]:
    """Of Conv and ConvTranspose."""
    return {
        "kernel_shape": list(module.kernel),
        "strides": list(module.stride),
        "pads": [*module.pad, *module.pad],
        "dilations": list(module.dilation),
        "group": group,
    }


def _batched(
    e: Emission,
    op: str,
    bottom: str,
    weights: Sequence[str],
    shape: Shape,
    made: Shape,
    top: str,
    attributes: dict[str, Any],
) -> None:
    """The operator on (N, C, ...), where all axes before the channels are the batch."""
    axis = e.module.axis
    if axis == 1:
        e.op(op, bottom, *weights, to=top, **attributes)
        return
    flat = e.reshape(bottom, (-1, *shape[axis:]) if axis else (1, *shape))
    e.reshape(e.op(op, flat, *weights, **attributes), made, top)


@emits("Deconvolution")
def deconvolution(e: Emission) -> None:
    """ConvTranspose, one for each bottom."""
    _convolve(e, "ConvTranspose")


@emits("Im2col")
def im2col(e: Emission) -> None:
    """Conv by the unit vectors: output channel (c, k) takes what lies at place k of the window, of channel c."""
    m = e.module
    for bottom, top, shape, made in zip(e.bottoms, e.tops, e.bottom_shapes, e.top_shapes, strict=True):
        channels, count = shape[m.axis], math.prod(m.kernel)
        unit = np.tile(np.eye(count, dtype=np.float32), (channels, 1)).reshape(channels * count, 1, *m.kernel)
        _batched(e, "Conv", bottom, [e.const(unit, what="windows")], shape, made, top, _attributes(m, channels))
