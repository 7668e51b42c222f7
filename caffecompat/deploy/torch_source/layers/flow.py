"""Torch source of ChannelNorm and FlowWarp."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, emits, text_of


@emits("ChannelNorm")
def channel_norm(c: LayerView) -> Emitted:
    return Emitted(call="torch.linalg.vector_norm({0}, dim=1, keepdim=True)")


@emits("FlowWarp")
def flow_warp(c: LayerView) -> Emitted:
    fill = f", {text_of(c.module.fill)}" if c.module.fill != 0 else ""
    return Emitted(call=f"flow_warp({{0}}, {{1}}{fill})")
