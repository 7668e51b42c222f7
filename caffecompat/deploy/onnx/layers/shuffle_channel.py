"""ONNX of ShuffleChannel."""

from __future__ import annotations

from caffecompat.deploy.onnx.emission import Emission, emits


@emits("ShuffleChannel")
def shuffle_channel(e: Emission) -> None:
    """The groups as an axis of their own, that goes after the channels of a group."""
    n, c, h, w = e.shape
    apart = e.reshape(e.bottoms[0], (n, e.module.group, c // e.module.group, h, w))
    e.reshape(e.op("Transpose", apart, perm=[0, 2, 1, 3, 4]), e.shape, e.tops[0])
