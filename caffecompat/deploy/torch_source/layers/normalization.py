"""Torch source of BatchNorm, LRN and MVN."""

from __future__ import annotations

import numpy as np

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, emits, make


def stored_norm(c: LayerView, parts: dict[str, np.ndarray], eps: float) -> Emitted:
    """nn.BatchNorm by stored statistics; torch has it for 2 to 5 axes."""
    axes = len(c.shape)
    state = {name: values.reshape(-1) for name, values in parts.items()}
    state["num_batches_tracked"] = np.zeros((), np.int64)
    kind = {4: "2d", 5: "3d"}.get(axes, "1d")
    text = make(
        f"nn.BatchNorm{kind}", state["running_mean"].size, eps=(float(eps), 1e-5), affine=("weight" in parts, True)
    )  # fmt: skip
    call = {1: "{self}({0}[:, None])[:, 0]"}.get(axes, "")
    if axes > 5:
        call = "{self}({0}.flatten(2)).unflatten(2, {0}.shape[2:])"
    return Emitted(text, call, state)


def batch_statistics_norm(c: LayerView, affine: dict[str, np.ndarray], eps: float, channels: int) -> Emitted:
    axes = (0, *range(2, len(c.shape)))
    text = make(
        "BatchStatisticsNorm", channels, eps=(float(eps), 1e-5), affine=(bool(affine), True),
        axes=(axes, (0, 2, 3)), statistics=(len(c.tops) - 1, 0),
    )  # fmt: skip
    call = "{self}({0}[:, None])[:, 0]" if len(c.shape) == 1 else ""
    return Emitted(text, call, affine, helpers=("BatchStatisticsNorm",))


@emits("BatchNorm")
def batch_norm(c: LayerView) -> Emitted:
    m = c.module
    parts = dict(zip(m.blob_names, c.blobs, strict=True))
    affine = {"weight": parts["scale"], "bias": parts["bias"]} if "scale" in parts else {}
    if m.uses_batch_statistics:
        return batch_statistics_norm(c, affine, m.eps, m.channels)
    mean, variance = parts["mean"], parts["variance"]
    if m.stores_sums:
        factor = np.float32(1 / parts["factor"][0] if parts["factor"][0] else 0)
        mean, variance = mean * factor, variance * factor
    return stored_norm(c, affine | {"running_mean": mean, "running_var": variance}, m.eps)


@emits("LRN")
def lrn(c: LayerView) -> Emitted:
    m = c.module
    if m.across:
        text = make("nn.LocalResponseNorm", m.size, alpha=(m.alpha, 1e-4), beta=(m.beta, 0.75), k=(m.k, 1.0))
        return Emitted(text)
    return Emitted(make("WithinChannelNorm", m.size, m.alpha, m.beta), helpers=("WithinChannelNorm",))


@emits("MVN")
def mvn(c: LayerView) -> Emitted:
    p = c.param.mvn_param
    text = make(
        "MeanVarianceNorm", whole_item=(p.across_channels, False), divide=(p.normalize_variance, True),
        eps=(p.eps, 1e-9),
    )  # fmt: skip
    return Emitted(text, helpers=("MeanVarianceNorm",))
