"""Torch source of InnerProduct."""

from __future__ import annotations

import numpy as np

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, emits, make


@emits("InnerProduct")
def inner_product(c: LayerView) -> Emitted:
    m = c.module
    weight = np.ascontiguousarray(c.blobs[0].T) if m.transpose else c.blobs[0]
    bottom = "{0}" if len(c.shape) == m.axis + 1 else f"{{0}}.flatten({m.axis})"
    state = dict(zip(("weight", "bias"), [weight, *c.blobs[1:]], strict=False))
    text = make("nn.Linear", weight.shape[1], weight.shape[0], bias=(len(c.blobs) > 1, True))
    return Emitted(text, f"{{self}}({bottom})", state, () if m.transpose else tuple(state))
