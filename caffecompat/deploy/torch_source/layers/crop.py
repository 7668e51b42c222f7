"""Torch source of Crop."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, emits


@emits("AutoCrop", "Crop")
def crop(c: LayerView) -> Emitted:
    """A slice as long as the second bottom."""
    axis = c.module.axis
    words = [":"] * axis
    for at, offset in enumerate(c.module.offsets, axis):
        length = f"{{1}}.shape[{at}]"
        words.append(f"{offset} : {offset} + {length}" if offset else f": {length}")
    return Emitted(call=f"{{0}}[{', '.join(words)}]")
