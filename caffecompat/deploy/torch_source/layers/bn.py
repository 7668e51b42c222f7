"""Torch source of ENet's and PSPNet's BN."""

from __future__ import annotations

import math

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, emits, make
from caffecompat.deploy.torch_source.layers.normalization import batch_statistics_norm, stored_norm
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
        return batch_statistics_norm(c, affine, SEGNET_EPS, channels)
    shape = (channels, 1, 1)
    state = {name: values.reshape(shape) for name, values in affine.items()}
    return Emitted(make("ChannelAffine", shape), "", state, helpers=("ChannelAffine",))
