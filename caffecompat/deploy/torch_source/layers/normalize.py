"""Torch source of Normalize."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, calling, emits, parameter


@emits("Normalize")
def normalize(c: LayerView) -> Emitted:
    m = c.module
    call = calling("l2_norm", "{0}", "{self}", eps=(m.eps, 1e-10), whole_item=(m.across_spatial, False))
    return Emitted(parameter(c.blobs[0]), call, {"": c.blobs[0]}, ("",))
