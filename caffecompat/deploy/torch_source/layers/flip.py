"""Torch source of Flip and Reverse."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, emits


@emits("Flip", "Reverse")
def flip(c: LayerView) -> Emitted:
    return Emitted(call=f"{{0}}.flip({', '.join(map(str, c.module.axes)) or '[]'})")
