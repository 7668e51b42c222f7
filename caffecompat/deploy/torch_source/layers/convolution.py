"""Torch source of convolution, deconvolution and Im2col."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import (
    Emitted,
    LayerView,
    calling,
    emits,
    make,
    square,
    text_of,
)


@emits("Convolution", "Deconvolution")
def windowed(c: LayerView) -> Emitted:
    """One module, called for each bottom; axes before the channels are all batch."""
    m = c.module
    reverse = c.layer.type.startswith("Deconvolution")
    text = make(
        f"nn.Conv{'Transpose' if reverse else ''}{len(m.kernel)}d", c.shape[m.axis], c.tops[0][m.axis],
        square(m.kernel), stride=(square(m.stride), 1), padding=(square(m.pad), 0),
        dilation=(square(m.dilation), 1), groups=(m.group, 1), bias=(len(c.blobs) > 1, True),
    )  # fmt: skip
    names = ("weight", "bias")[: len(c.blobs)]
    calls = [_batched(f"{{{i}}}", m.axis) for i in range(len(c.bottoms))]
    return Emitted(text, ", ".join(calls), dict(zip(names, c.blobs, strict=True)), names)


def _batched(bottom: str, axis: int) -> str:
    if axis == 1:
        return f"{{self}}({bottom})"
    if axis == 0:
        return f"{{self}}({bottom}[None])[0]"
    return f"{{self}}({bottom}.flatten(0, {axis - 1})).unflatten(0, {bottom}.shape[:{axis}])"


@emits("Im2col")
def im2col(c: LayerView) -> Emitted:
    m = c.module
    window = [text_of(numbers) for numbers in (m.kernel, m.stride, m.pad, m.dilation)]
    calls = [calling("im2col", f"{{{i}}}", *window, axis=(m.axis, 1)) for i in range(len(c.bottoms))]
    return Emitted(call=", ".join(calls))
