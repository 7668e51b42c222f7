"""ONNX of BatchNorm, LRN and MVN."""

from __future__ import annotations

import numpy as np

from caffecompat.deploy.onnx.emission import Emission, emits


@emits("BatchNorm")
def batch_norm(e: Emission) -> None:
    """BatchNormalization by the stored statistics, or the batch's own computed (`use_global_stats: false`)."""
    m = e.module
    scale, bias = e.parameters.get("scale"), e.parameters.get("bias")
    if m.uses_batch_statistics:
        by_batch(e, e.tops[:1], scale, bias, m.eps)
        return
    mean, variance = e.parameters["mean"], e.parameters["variance"]
    if m.stores_sums:
        factor = e.parameters["factor"][0]
        factor = np.float32(0 if factor == 0 else 1 / factor)
        mean, variance = mean * factor, variance * factor
    by_stored(e, scale, bias, mean, variance, m.eps)


def by_stored(
    e: Emission, scale: np.ndarray | None, bias: np.ndarray | None, mean: np.ndarray, variance: np.ndarray, eps: float
) -> None:
    """One BatchNormalization node; arrays of C values."""
    scale = np.ones_like(mean) if scale is None else scale
    bias = np.zeros_like(mean) if bias is None else bias
    named = {"scale": scale, "bias": bias, "mean": mean, "variance": variance}
    inputs = [e.const(values.reshape(-1), what=what) for what, values in named.items()]
    value = e.reshape(e.bottoms[0], (e.shape[0], 1)) if len(e.shape) == 1 else e.bottoms[0]
    to = None if len(e.shape) == 1 else e.tops[0]
    made = e.op("BatchNormalization", value, *inputs, to=to, epsilon=float(eps))
    if len(e.shape) == 1:
        e.reshape(made, e.shape, e.tops[0])


def by_batch(e: Emission, tops: list[str], scale: np.ndarray | None, bias: np.ndarray | None, eps: float) -> None:
    """(x - mean) / sqrt(variance + eps) x scale + bias; further tops are mean and variance (1, C, 1, ...)."""
    mean = _mean(e, e.bottoms[0], tops[1] if len(tops) > 1 else None)
    centered = e.op("Sub", e.bottoms[0], mean)
    variance = _mean(e, e.op("Mul", centered, centered), tops[2] if len(tops) > 2 else None)
    deviation = e.op("Sqrt", e.op("Add", variance, e.const(eps, what="eps")))
    if scale is None or bias is None:
        e.op("Div", centered, deviation, to=tops[0])
        return
    shape = (-1, *[1] * (len(e.shape) - 2))
    product = e.op("Mul", e.op("Div", centered, deviation), e.const(scale.reshape(shape), what="scale"))
    e.op("Add", product, e.const(bias.reshape(shape), what="bias"), to=tops[0])


def _mean(e: Emission, value: str, to: str | None) -> str:
    """Means of the channels, first along rows: of a large plane's values onnxruntime adds up too many in one float."""
    axes = [0] if len(e.shape) == 1 else [axis for axis in range(len(e.shape)) if axis != 1]
    if len(axes) > 1:
        value = e.reduce("ReduceMean", value, axes[-1:])
    return e.reduce("ReduceMean", value, axes[:-1] or axes, to=to)


@emits("LRN")
def lrn(e: Emission) -> None:
    """LRN across channels; within them a mean of squares and a power."""
    m = e.module
    if m.across:
        e.op("LRN", e.bottoms[0], to=e.tops[0], size=m.size, alpha=float(m.alpha), beta=float(m.beta), bias=float(m.k))
        return
    pads = [m.size // 2] * 4
    squares = e.op("Mul", e.bottoms[0], e.bottoms[0])
    means = e.op("AveragePool", squares, kernel_shape=[m.size] * 2, pads=pads, strides=[1, 1], count_include_pad=1)
    scale = e.op("Pow", e.scaled(means, m.alpha, 1.0), e.const(-m.beta, what="power"))
    e.op("Mul", e.bottoms[0], scale, to=e.tops[0])


@emits("MVN")
def mvn(e: Emission) -> None:
    """x - mean, over (standard deviation + eps)."""
    p = e.module.param.mvn_param
    axes = range(1 if p.across_channels else 2, len(e.shape))
    if not axes:  # one value a channel is its own mean
        e.op("Sub", e.bottoms[0], e.bottoms[0], to=e.tops[0])
        return
    mean = e.reduce("ReduceMean", e.bottoms[0], axes)
    centered = e.op("Sub", e.bottoms[0], mean, to=None if p.normalize_variance else e.tops[0])
    if p.normalize_variance:
        variance = e.reduce("ReduceMean", e.op("Mul", centered, centered), axes)
        deviation = e.op("Add", e.op("Sqrt", variance), e.const(p.eps, what="eps"))
        e.op("Div", centered, deviation, to=e.tops[0])
