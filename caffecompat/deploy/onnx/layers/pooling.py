"""ONNX of Pooling and SPP."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from caffecompat.deploy.onnx.emission import Emission, UnsupportedLayer, emits
from caffecompat.layers.functional.pooling import Window
from caffecompat.schema import pb

LOWEST = float(np.finfo(np.float32).min)


@emits("Pooling")
def pooling(e: Emission) -> None:
    """MaxPool, AveragePool, or their global forms, with explicit pads for Caffe's rounding."""
    m = e.module
    window = Window((e.shape[2], e.shape[3])) if m.whole_plane else m.window
    mask = e.tops[1] if len(e.tops) > 1 else None
    factor = m.dpu_factor(window.kernel)
    if factor == 1:
        pool(e, m.method, e.bottoms[0], window, e.tops[0], mask)
    else:
        e.op("Mul", pool(e, m.method, e.bottoms[0], window, None), e.const(factor, what="dpu_factor"), to=e.tops[0])


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
    """How far the last window reaches beyond the plane on each axis; 0 where it ends inside."""
    return [max(0, end) for end in window.ends(e.shape[2:])]


def _has_empty_windows(e: Emission, window: Window) -> bool:
    counts = window.counts(e.shape[2:])
    return any(
        (count - 1) * s - p >= size
        for size, s, p, count in zip(e.shape[2:], window.stride, window.pad, counts, strict=True)
    )


def window_attributes(window: Window, begins: Sequence[int], ends: Sequence[int]) -> dict[str, list[int]]:
    return {"kernel_shape": list(window.kernel), "strides": list(window.stride), "pads": [*begins, *ends]}


def _max(e: Emission, bottom: str, window: Window, to: str | None, mask: str | None) -> str:
    if _is_global(e, window) and mask is None:
        return e.op("GlobalMaxPool", bottom, to=to)
    ends = _margins(e, window)
    begins: Sequence[int] = window.pad
    if _has_empty_windows(e, window):
        if mask is not None:
            raise UnsupportedLayer(
                "some windows lie outside the plane, whose mask has no form in ONNX; choose another kernel or pad"
            )
        bottom = e.pad(bottom, [0, 0, *begins], [0, 0, *ends], LOWEST)
        begins = ends = [0, 0]
    if mask is None:
        return e.op("MaxPool", bottom, to=to, **window_attributes(window, begins, ends))
    top = e.builder.value_name(f"{e.name}/MaxPool") if to is None else to
    index = e.builder.value_name(f"{e.name}/indices")
    e.builder.add("MaxPool", [bottom], [top, index], e.name, **window_attributes(window, begins, ends))
    # ONNX counts through the whole tensor, Caffe through each plane.
    e.cast(e.op("Mod", index, e.ints(e.shape[2] * e.shape[3], "plane")), np.float32, to=mask)
    return top


def _average(e: Emission, bottom: str, window: Window, to: str | None) -> str:
    if _is_global(e, window):
        return e.op("GlobalAveragePool", bottom, to=to)
    ends = _margins(e, window)
    pads = window.pad
    if _has_empty_windows(e, window):
        areas = window.areas(torch.zeros(1, 1, *e.shape[2:])).numpy()
        sums = average_windows(e, e.pad(bottom, [0, 0, *pads], [0, 0, *ends], 0.0), window, [0, 0], [0, 0], False)
        with np.errstate(divide="ignore", invalid="ignore"):
            factors = np.float32(math.prod(window.kernel)) / areas
        return e.op("Mul", sums, e.const(factors, what="divisors"), to=to)
    # Caffe's divisor counts the pad on both sides, but not what lies beyond it.
    if all(end <= pad for end, pad in zip(ends, pads, strict=True)):
        return average_windows(e, bottom, window, pads, ends, any(pads), to)
    if any(pads):
        inner = [min(end, pad) for end, pad in zip(ends, pads, strict=True)]
        bottom = e.pad(bottom, [0, 0, *pads], [0, 0, *inner], 0.0)
        ends = [end - pad for end, pad in zip(ends, inner, strict=True)]
    return average_windows(e, bottom, window, [0, 0], ends, False, to)


def average_windows(
    e: Emission,
    bottom: str,
    window: Window,
    begins: Sequence[int],
    ends: Sequence[int],
    count_pads: bool,
    to: str | None = None,
) -> str:
    return e.op(
        "AveragePool", bottom, to=to, count_include_pad=int(count_pads), **window_attributes(window, begins, ends)
    )


def _stochastic(e: Emission, bottom: str, window: Window, to: str | None) -> str:
    """sum(x^2) / sum(x), 0 where all are 0."""
    padded = e.pad(bottom, [0, 0, 0, 0], [0, 0, *_margins(e, window)], 0.0)
    squares = average_windows(e, e.op("Mul", padded, padded), window, [0, 0], [0, 0], False)
    means = average_windows(e, padded, window, [0, 0], [0, 0], False)
    positive = e.op("Greater", means, e.const(0.0))
    ratio = e.op("Div", squares, e.op("Where", positive, means, e.const(1.0)))
    return e.op("Where", positive, ratio, e.const(0.0), to=to)


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
