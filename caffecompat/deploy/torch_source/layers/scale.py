"""Torch source of Scale and Bias."""

from __future__ import annotations

import numpy as np

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, Shape, emits, make


@emits("Scale", "Bias")
def scale(c: LayerView) -> Emitted:
    """A parameter along some axes, or the second bottom."""
    m, is_scale = c.module, c.layer.type != "Bias"
    behind = len(c.shape) - m.axis
    if len(c.bottoms) == 1:
        names = ("weight", "bias") if is_scale else ("bias",)
        return _affine(_spread(c.blobs[0].shape, behind), dict(zip(names, c.blobs, strict=False)))
    missing = behind - len(c.bottoms[1]) if c.bottoms[1] else 0
    other = f"{{1}}[..., {', '.join(['None'] * missing)}]" if missing else "{1}"
    text = f"{{0}} {'*' if is_scale else '+'} {other}"
    if not c.blobs:
        return Emitted(call=text)
    added = _affine(_spread(c.blobs[0].shape, behind), {"bias": c.blobs[0]})
    added.call = f"{{self}}({text})"
    return added


def _spread(shape: Shape, behind: int) -> Shape:
    return (*shape, *(1,) * (behind - len(shape)))


def _affine(shape: Shape, parts: dict[str, np.ndarray]) -> Emitted:
    text = make("ChannelAffine", shape, weight=("weight" in parts, True), bias=("bias" in parts, True))
    state = {name: values.reshape(shape) for name, values in parts.items()}
    return Emitted(text, "", state, tuple(state), ("ChannelAffine",))
