"""Torch source of Softmax."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, emits


@emits("Softmax")
def softmax(c: LayerView) -> Emitted:
    return Emitted(f"nn.Softmax(dim={c.module.axis})")
