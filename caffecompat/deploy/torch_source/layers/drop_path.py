"""Torch source of DropPath."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, emits, number


@emits("DropPath")
def drop_path(c: LayerView) -> Emitted:
    return Emitted(call=f"drop_path({{0}}, {number(c.module.probability)}, self.training)")
