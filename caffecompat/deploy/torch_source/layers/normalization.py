"""Torch source of BatchNorm, LRN and MVN."""

from __future__ import annotations

import numpy as np

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, calling, emits, make, number, parameters


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


def _batch_norm(c: LayerView, affine: dict[str, np.ndarray]) -> Emitted:
    """Normalization by the batch's own statistics, or by those of parts of it."""
    m = c.module
    bottom = "{0}[:, None]" if len(c.shape) == 1 else "{0}"
    given = ["part" if m.stats_batch_size else bottom, *["**{self}"] * bool(affine)]
    call = calling("normalize_by_batch_exactly", *given, eps=(float(m.eps), 1e-5)) + "[0]"
    if m.stats_batch_size:
        call = f"torch.cat([{call} for part in {bottom}.split({m.stats_batch_size})])"
    call += "[:, 0]" if len(c.shape) == 1 else ""
    return Emitted(parameters(affine) if affine else "", call, affine, tuple(affine))


@emits("BatchNorm")
def batch_norm(c: LayerView) -> Emitted:
    m = c.module
    parts = dict(zip(m.blob_names, c.blobs, strict=True))
    affine = {"weight": parts["scale"], "bias": parts["bias"]} if "scale" in parts else {}
    if m.uses_batch_statistics:
        return _batch_norm(c, affine)
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
    return Emitted(call=calling("local_response_norm_within", "{0}", *map(number, (m.size, m.alpha, m.beta))))


@emits("MVN")
def mvn(c: LayerView) -> Emitted:
    m = c.module
    settings = {"whole_item": (m.whole_item, False), "divide": (m.divides, True), "eps": (m.eps, 1e-9)}
    return Emitted(call=calling("mean_variance_norm", "{0}", **settings))
