"""Torch source of Tiling, GSTiling and Reorg: channels exchanged for resolution."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, emits


@emits("Tiling")
def tiling(c: LayerView) -> Emitted:
    return Emitted(f"nn.PixelShuffle({c.module.side})")


@emits("GSTiling")
def gs_tiling(c: LayerView) -> Emitted:
    name = "blocks_to_pixels" if c.module.reverse else "pixels_to_blocks"
    return Emitted(call=f"{name}({{0}}, {c.module.side})")


@emits("Reorg")
def reorg(c: LayerView) -> Emitted:
    name = "blocks_to_pixels" if c.module.reverse else "darknet_reorg"
    return Emitted(call=f"{name}({{0}}, {c.module.side})")
