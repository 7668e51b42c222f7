"""Torch source of Scale and Bias."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, Shape, emits, parameter, parameters


@emits("Scale", "Bias")
def scale(c: LayerView) -> Emitted:
    """A parameter along some axes, or the second bottom."""
    m, is_scale = c.module, c.layer.type != "Bias"
    behind = len(c.shape) - m.axis
    if len(c.bottoms) == 1:
        blobs = [blob.reshape(_spread(blob.shape, behind)) for blob in c.blobs]
        if len(blobs) == 1:
            return Emitted(parameter(blobs[0]), "{0} * {self}" if is_scale else "{0} + {self}", {"": blobs[0]}, ("",))
        state = dict(zip(("weight", "bias"), blobs, strict=True))
        return Emitted(parameters(state), "affine({0}, **{self})", state, tuple(state))
    missing = behind - len(c.bottoms[1]) if c.bottoms[1] else 0
    other = f"{{1}}[..., {', '.join(['None'] * missing)}]" if missing else "{1}"
    text = f"{{0}} {'*' if is_scale else '+'} {other}"
    if not c.blobs:
        return Emitted(call=text)
    state = {"": c.blobs[0].reshape(_spread(c.blobs[0].shape, behind))}
    return Emitted(parameter(state[""]), f"{text} + {{self}}", state, ("",))


def _spread(shape: Shape, behind: int) -> Shape:
    return (*shape, *(1,) * (behind - len(shape)))
