"""ONNX of the layers that look through windows: convolution, deconvolution, pooling, Im2col."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from caffecompat.deploy.onnx.emission import Cannot, Emission, Shape, emits
from caffecompat.deploy.onnx.resize import bilinear_factor, emit_resize_for
from caffecompat.layers.pooling import Window
from caffecompat.schema import pb

LOWEST = float(np.finfo(np.float32).min)


@emits("Convolution", "ConvolutionFixed")
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


@emits("Deconvolution", "DeconvolutionFixed")
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


@emits("Pooling")
def pooling(e: Emission) -> None:
    """MaxPool, AveragePool, or their global forms, with explicit pads for Caffe's rounding."""
    m = e.module
    window = Window((e.shape[2], e.shape[3])) if m.whole_plane else m.window
    mask = e.tops[1] if len(e.tops) > 1 else None
    if e.target and any(end > pad for end, pad in zip(_margins(e, window), window.pad, strict=True)):
        e.note("the last windows reach past the edge, as Caffe rounds up: explicit pad below and to the right")
    pool(e, m.method, e.bottoms[0], window, e.tops[0], mask)


def pool(e: Emission, method: int, bottom: str, window: Window, to: str | None, mask: str | None = None) -> str:
    """Pool a value (N, C, H, W) of the emission's first shape."""
    if method == pb.PoolingParameter.AVE:
        return _average(e, bottom, window, to)
    if method == pb.PoolingParameter.STOCHASTIC:
        return _stochastic(e, bottom, window, to)
    return _max(e, bottom, window, to, mask)


def _is_global(e: Emission, window: Window) -> bool:
    plane = e.shape[2:]
    return window.kernel == tuple(plane) and window.counts(plane) == (1, 1) and not any(window.pad)


def _margins(e: Emission, window: Window) -> list[int]:
    """How far the last window reaches behind the plane on each axis; 0 where it ends inside."""
    return [max(0, end) for end in window.ends(e.shape[2:])]


def _has_empty_windows(e: Emission, window: Window) -> bool:
    counts = window.counts(e.shape[2:])
    return any(
        (count - 1) * s - p >= size
        for size, s, p, count in zip(e.shape[2:], window.stride, window.pad, counts, strict=True)
    )


def _windows(window: Window, begins: Sequence[int], ends: Sequence[int]) -> dict[str, list[int]]:
    return {"kernel_shape": list(window.kernel), "strides": list(window.stride), "pads": [*begins, *ends]}


def _max(e: Emission, bottom: str, window: Window, to: str | None, mask: str | None) -> str:
    if _is_global(e, window) and mask is None:
        return e.op("GlobalMaxPool", bottom, to=to)
    ends = _margins(e, window)
    begins: Sequence[int] = window.pad
    if _has_empty_windows(e, window):
        if mask is not None:
            raise Cannot(
                "some windows lie outside the plane, whose mask has no form in ONNX; choose another kernel or pad"
            )
        bottom = e.pad(bottom, [0, 0, *begins], [0, 0, *ends], LOWEST)
        begins = ends = [0, 0]
    if mask is None:
        return e.op("MaxPool", bottom, to=to, **_windows(window, begins, ends))
    top = e.builder.value_name(f"{e.name}/MaxPool") if to is None else to
    index = e.builder.value_name(f"{e.name}/indices")
    e.builder.add("MaxPool", [bottom], [top, index], e.name, **_windows(window, begins, ends))
    # ONNX counts through the whole tensor, Caffe through each plane.
    e.cast(e.op("Mod", index, e.ints(e.shape[2] * e.shape[3], "plane")), np.float32, to=mask)
    return top


def _average(e: Emission, bottom: str, window: Window, to: str | None) -> str:
    if _is_global(e, window):
        return _global_average(e, bottom, to)
    ends = _margins(e, window)
    pads = window.pad
    if _has_empty_windows(e, window):
        areas = window.areas(torch.zeros(1, 1, *e.shape[2:])).numpy()
        sums = _means(e, e.pad(bottom, [0, 0, *pads], [0, 0, *ends], 0.0), window, [0, 0], [0, 0], False)
        with np.errstate(divide="ignore", invalid="ignore"):
            factors = np.float32(math.prod(window.kernel)) / areas
        return e.op("Mul", sums, e.const(factors, what="divisors"), to=to)
    # Caffe's divisor counts the pad on both sides, but not what lies beyond it.
    if all(end <= pad for end, pad in zip(ends, pads, strict=True)):
        return _means(e, bottom, window, pads, ends, any(pads), to)
    if any(pads):
        inner = [min(end, pad) for end, pad in zip(ends, pads, strict=True)]
        bottom = e.pad(bottom, [0, 0, *pads], [0, 0, *inner], 0.0)
        ends = [end - pad for end, pad in zip(ends, inner, strict=True)]
    return _means(e, bottom, window, [0, 0], ends, False, to)


def _means(
    e: Emission,
    bottom: str,
    window: Window,
    begins: Sequence[int],
    ends: Sequence[int],
    count_pads: bool,
    to: str | None = None,
) -> str:
    return e.op("AveragePool", bottom, to=to, count_include_pad=int(count_pads), **_windows(window, begins, ends))


def _global_average(e: Emission, bottom: str, to: str | None) -> str:
    n, c, h, w = e.shape
    if h * w > (most := e.limits.get("mean_plane", math.inf)):
        e.note(f"a mean over {h} x {w} became a MatMul: TIDL's GlobalAveragePool takes at most {most} values")
        sums = e.op("MatMul", e.reshape(bottom, (n, c, h * w)), e.const(np.full((h * w, 1), 1 / (h * w)), what="mean"))
        return e.reshape(sums, (n, c, 1, 1), to)
    return e.op("GlobalAveragePool", bottom, to=to)


def _stochastic(e: Emission, bottom: str, window: Window, to: str | None) -> str:
    """sum(x^2) / sum(x), 0 where all are 0."""
    padded = e.pad(bottom, [0, 0, 0, 0], [0, 0, *_margins(e, window)], 0.0)
    squares = _means(e, e.op("Mul", padded, padded), window, [0, 0], [0, 0], False)
    means = _means(e, padded, window, [0, 0], [0, 0], False)
    positive = e.op("Greater", means, e.const(0.0))
    ratio = e.op("Div", squares, e.op("Where", positive, means, e.const(1.0)))
    return e.op("Where", positive, ratio, e.const(0.0), to=to)


@emits("Pooling3D")
def pooling_3d(e: Emission) -> None:
    """MaxPool or AveragePool of a bottom with the margins that the windows see, means times what Caffe divides by."""
    window, averages = e.module.window, e.module.averages
    bottom, ends, none = e.bottoms[0], window.ends(e.shape[2:]), [0, 0, 0]
    if any([*window.pad, *ends]):
        bottom = e.pad(bottom, [0, 0, *window.pad], [0, 0, *ends], 0.0 if averages else LOWEST)
    if not averages:
        e.op("MaxPool", bottom, to=e.tops[0], **_windows(window, none, none))
        return
    areas = window.areas(torch.zeros(1, 1, *e.shape[2:])).numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = np.float32(math.prod(window.kernel)) / areas
    whole = bool((factors == 1).all())
    means = _means(e, bottom, window, none, none, False, e.tops[0] if whole else None)
    if not whole:
        e.op("Mul", means, e.const(factors, what="divisors"), to=e.tops[0])


@emits("SPP")
def spp(e: Emission) -> None:
    """A pooling for each level, flattened and joined."""
    m = e.module
    if m.levels == 1:
        pool(e, m.method, e.bottoms[0], m._window(0, e.shape), e.tops[0])
        return
    flat = []
    for level in range(m.levels):
        window = m._window(level, e.shape)
        flat.append(e.op("Flatten", pool(e, m.method, e.bottoms[0], window, None), axis=1))
    e.op("Concat", *flat, to=e.tops[0], axis=1)
