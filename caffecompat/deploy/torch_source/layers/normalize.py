"""Torch source of Normalize."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, emits, make


@emits("Normalize")
def normalize(c: LayerView) -> Emitted:
    p = c.param.norm_param
    text = make(
        "L2Norm", 1 if p.channel_shared else c.shape[1], eps=(p.eps, 1e-10), whole_item=(p.across_spatial, False)
    )  # fmt: skip
    return Emitted(text, "", {"weight": c.blobs[0].reshape(-1)}, helpers=("L2Norm",))
