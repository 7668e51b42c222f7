"""Emitters of normalizations, and of detection heads."""

from __future__ import annotations

import math

import numpy as np

from caffecompat.deploy.torch_source.emission import Case, Emitted, emits, make, number
from caffecompat.layers.bn import SEGNET_EPS


def _norm(c: Case, parts: dict[str, np.ndarray], eps: float) -> Emitted:
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


def _by_batch(c: Case, affine: dict[str, np.ndarray], eps: float, channels: int) -> Emitted:
    axes = (0, *range(2, len(c.shape)))
    text = make(
        "BatchStatisticsNorm", channels, eps=(float(eps), 1e-5), affine=(bool(affine), True),
        axes=(axes, (0, 2, 3)), statistics=(len(c.tops) - 1, 0),
    )  # fmt: skip
    call = "{self}({0}[:, None])[:, 0]" if len(c.shape) == 1 else ""
    return Emitted(text, call, affine, helpers=("BatchStatisticsNorm",))


@emits("BatchNorm")
def batch_norm(c: Case) -> Emitted:
    m = c.module
    parts = dict(zip(m.blob_names, c.blobs, strict=True))
    affine = {"weight": parts["scale"], "bias": parts["bias"]} if "scale" in parts else {}
    if m.uses_batch_statistics:
        return _by_batch(c, affine, m.eps, m.channels)
    mean, variance = parts["mean"], parts["variance"]
    if m.stores_sums:
        factor = np.float32(1 / parts["factor"][0] if parts["factor"][0] else 0)
        mean, variance = mean * factor, variance * factor
    return _norm(c, affine | {"running_mean": mean, "running_var": variance}, m.eps)


@emits("BN")
def bn(c: Case) -> Emitted:
    m, channels = c.module, c.shape[1]
    affine = {"weight": c.blobs[0].reshape(-1), "bias": c.blobs[1].reshape(-1)}
    if m.keeps_statistics:
        return _norm(c, affine | {"running_mean": c.blobs[2], "running_var": c.blobs[3]}, m.eps)
    if not m.folded and len(c.tops) == 1 and math.prod(c.shape) > channels:  # torch refuses to norm a single value
        text = make("nn.BatchNorm2d", channels, eps=(SEGNET_EPS, 1e-5), track_running_stats=(False, True))
        return Emitted(text, "", affine)
    if not m.folded:
        return _by_batch(c, affine, SEGNET_EPS, channels)
    shape = (channels, 1, 1)
    state = {name: values.reshape(shape) for name, values in affine.items()}
    return Emitted(make("ChannelAffine", shape), "", state, helpers=("ChannelAffine",))


@emits("LRN")
def lrn(c: Case) -> Emitted:
    m = c.module
    if m.across:
        text = make("nn.LocalResponseNorm", m.size, alpha=(m.alpha, 1e-4), beta=(m.beta, 0.75), k=(m.k, 1.0))
        return Emitted(text)
    return Emitted(make("WithinChannelNorm", m.size, m.alpha, m.beta), helpers=("WithinChannelNorm",))


@emits("MVN")
def mvn(c: Case) -> Emitted:
    p = c.param.mvn_param
    text = make(
        "MeanVarianceNorm", whole_item=(p.across_channels, False), divide=(p.normalize_variance, True),
        eps=(p.eps, 1e-9),
    )  # fmt: skip
    return Emitted(text, helpers=("MeanVarianceNorm",))


@emits("Normalize", "NormalizeFixed")
def normalize(c: Case) -> Emitted:
    p = c.param.norm_param
    text = make(
        "L2Norm", 1 if p.channel_shared else c.shape[1], eps=(p.eps, 1e-10), whole_item=(p.across_spatial, False)
    )  # fmt: skip
    return Emitted(text, "", {"weight": c.blobs[0].reshape(-1)}, helpers=("L2Norm",))


@emits("PriorBox")
def prior_box(c: Case) -> Emitted:
    m, p = c.module, c.param.prior_box_param
    sizes = [f"({number(width)}, {number(height)})" for width, height in m.sizes.tolist()]
    variances = [number(value) for value in m.variances.tolist()]
    words = [f"[{', '.join(sizes)}]", f"[{', '.join(variances)}]"]
    for name, pair in (("step", m.step), ("image", m.image)):
        if pair is not None:
            words.append(f"{name}=({number(float(pair[0]))}, {number(float(pair[1]))})")
    words += [f"offset={number(p.offset)}"] if p.offset != 0.5 else []
    words += ["clip=True"] if p.clip else []
    return Emitted(f"PriorBox({', '.join(words)})", helpers=("PriorBox",))


@emits("DetectionOutput")
def detection(c: Case) -> Emitted:
    m, p = c.module, c.param.detection_output_param
    text = make(
        "DetectionOutput", m.classes, background=(p.background_label_id, 0),
        shared_locations=(p.share_location, True), code=(m.code, "CORNER"),
        variance_in_target=(p.variance_encoded_in_target, False), threshold=(float(m.threshold), -math.inf),
        top_k=(m.top_k, -1), keep_top_k=(p.keep_top_k, -1),
        nms_threshold=(p.nms_param.nms_threshold, 0.3), eta=(p.nms_param.eta, 1.0),
    )  # fmt: skip
    call = "{self}({0}, {1}, {2})" + (", {3}" if m.passes_map else "")
    return Emitted(text, call, helpers=("DetectionOutput",))
