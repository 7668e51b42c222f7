"""Torch source of Concat and Slice."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, emits, make


@emits("Concat")
def concat(c: LayerView) -> Emitted:
    names = ", ".join(f"{{{i}}}" for i in range(len(c.bottoms)))
    return Emitted(call=f"torch.cat([{names}], dim={c.module.axis})" if len(c.bottoms) > 1 else "{0}")


@emits("Slice")
def slice_(c: LayerView) -> Emitted:
    if len(c.tops) == 1:
        return Emitted(call="{0}")
    points = tuple(c.param.slice_param.slice_point)
    if not points:
        return Emitted(call=f"{{0}}.chunk({len(c.tops)}, dim={c.module.axis})")
    return Emitted(call=make("{0}.tensor_split", points, dim=(c.module.axis, None)))
