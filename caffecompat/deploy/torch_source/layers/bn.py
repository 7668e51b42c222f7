"""Torch source of ENet's and PSPNet's BN."""

from __future__ import annotations

import math

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, emits, make, number, parameters
from caffecompat.deploy.torch_source.layers.normalization import stored_norm
from caffecompat.layers.bn import SEGNET_EPS


@emits("BN")
def bn(c: LayerView) -> Emitted:
    m, channels = c.module, c.shape[1]
    affine = {"weight": c.blobs[0].reshape(-1), "bias": c.blobs[1].reshape(-1)}
    if m.keeps_statistics:
        return stored_norm(c, affine | {"running_mean": c.blobs[2], "running_var": c.blobs[3]}, m.eps)
    if not m.folded and len(c.tops) == 1 and math.prod(c.shape) > channels:  # torch refuses to norm a single value
        text = make("nn.BatchNorm2d", channels, eps=(SEGNET_EPS, 1e-5), track_running_stats=(False, True))
        return Emitted(text, "", affine)
    if not m.folded:
        call = f"normalize_by_batch({{0}}, **{{self}}, eps={number(SEGNET_EPS)})"
        return Emitted(parameters(affine), call + ("[0]", "[:2]", "")[len(c.tops) - 1], affine, tuple(affine))
    state = {name: values.reshape(channels, 1, 1) for name, values in affine.items()}
    return Emitted(parameters(state), "affine({0}, **{self})", state)
