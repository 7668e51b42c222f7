"""ONNX of convolution, deconvolution and Im2col."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from caffecompat.deploy.onnx.emission import Emission, Shape, emits
from caffecompat.deploy.onnx.resize import bilinear_factor, emit_resize_for


@emits("Convolution")
def convolution(e: Emission) -> None:
    """Conv, one for each bottom."""
    _convolve(e, "Conv")


def _convolve(e: Emission, op: str) -> None:
    """Conv or ConvTranspose, one for each bottom; for the DPU without groups but those of one channel."""
    m = e.module
    for bottom, top, shape, made in zip(e.bottoms, e.tops, e.bottom_shapes, e.top_shapes, strict=True):
        channels, group = shape[m.axis], m.group
        weights = [e.parameter("weight")] if e.target != "dpu" or group in (1, channels) else []
        if not weights and not e.options.dpu_dense:
            _split_groups(e, op, bottom, top, channels)
            continue
        if not weights:
            weights, group = [e.const(_dense(e.parameters["weight"], group, op), what="dense_weight")], 1
            e.note(f"group {m.group} became a dense {op} with zeros: the DPU has no groups between 1 and the channels")
        weights += [e.parameter("bias")] if m.bias is not None else []
        _batched(e, op, bottom, weights, shape, made, top, _attributes(m, group))


def _attributes(module: Any, group: int) -> dict[str, Any]:
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


def _split_groups(e: Emission, op: str, bottom: str, top: str, channels: int) -> None:
    """A convolution of each slice of the channels, joined."""
    m = e.module
    weight, parts = e.parameters["weight"], []
    each, rows = channels // m.group, weight.shape[0] // m.group
    for group in range(m.group):
        part = e.slice(bottom, [group * each], [(group + 1) * each], [1])
        inputs = [e.const(weight[group * rows : (group + 1) * rows], what=f"weight_{group}")]
        if m.bias is not None:
            outputs = e.parameters["bias"].size // m.group
            inputs.append(e.const(e.parameters["bias"][group * outputs : (group + 1) * outputs], what=f"bias_{group}"))
        parts.append(e.op(op, part, *inputs, **_attributes(m, 1)))
    e.op("Concat", *parts, to=top, axis=1)
    e.note(
        f"group {m.group} became {m.group} {op}s of slices, joined: the DPU has no groups between 1 and the channels "
        "(--dpu-dense writes one with zeros)"
    )


def _dense(weight: np.ndarray, groups: int, op: str) -> np.ndarray:
    """The weights (O, I / groups, ...) of Conv or (I, O / groups, ...) of ConvTranspose without groups."""
    rows, inside = weight.shape[0] // groups, weight.shape[1]
    dense = np.zeros((weight.shape[0], inside * groups, *weight.shape[2:]), weight.dtype)
    for group in range(groups):
        own = slice(group * rows, (group + 1) * rows)
        dense[own, group * inside : (group + 1) * inside] = weight[own]
    return dense


@emits("Deconvolution")
def deconvolution(e: Emission) -> None:
    """ConvTranspose, or Resize for a bilinear one where the target wants that."""
    if e.target:
        factor = bilinear_factor(e.module, e.parameters, e.shape)
        if factor and emit_resize_for(e, factor):
            return
    _convolve(e, "ConvTranspose")


@emits("Im2col")
def im2col(e: Emission) -> None:
    """Conv by the unit vectors: output channel (c, k) takes what lies at place k of the window, of channel c."""
    m = e.module
    for bottom, top, shape, made in zip(e.bottoms, e.tops, e.bottom_shapes, e.top_shapes, strict=True):
        channels, count = shape[m.axis], math.prod(m.kernel)
        unit = np.tile(np.eye(count, dtype=np.float32), (channels, 1)).reshape(channels * count, 1, *m.kernel)
        _batched(e, "Conv", bottom, [e.const(unit, what="windows")], shape, made, top, _attributes(m, channels))
