"""Torch source of ShuffleChannel."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, emits, make


@emits("ShuffleChannel")
def shuffle_channel(c: LayerView) -> Emitted:
    return Emitted(make("nn.ChannelShuffle", c.module.group))
