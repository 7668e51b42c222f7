"""Torch source of Parameter."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, emits, parameter


@emits("Parameter")
def parameter_(c: LayerView) -> Emitted:
    return Emitted(parameter(c.blobs[0]), "{self}", {"": c.blobs[0]})
