"""Emitters of layers with weights: convolutions, products, recurrent layers, tables, scales."""

from __future__ import annotations

import numpy as np

from caffecompat.deploy.torch_source.emission import Case, Emitted, Shape, emits, make, square

_TYPES = ("Convolution", "Deconvolution", "ConvolutionFixed", "DeconvolutionFixed")


@emits(*_TYPES, "ConvolutionDepthwise", "DepthwiseConvolution")
def windowed(c: Case) -> Emitted:
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


@emits("InnerProduct", "InnerProductFixed")
def inner_product(c: Case) -> Emitted:
    m = c.module
    weight = np.ascontiguousarray(c.blobs[0].T) if m.transpose else c.blobs[0]
    bottom = "{0}" if len(c.shape) == m.axis + 1 else f"{{0}}.flatten({m.axis})"
    state = dict(zip(("weight", "bias"), [weight, *c.blobs[1:]], strict=False))
    text = make("nn.Linear", weight.shape[1], weight.shape[0], bias=(len(c.blobs) > 1, True))
    return Emitted(text, f"{{self}}({bottom})", state, () if m.transpose else tuple(state))


@emits("Embed")
def embed(c: Case) -> Emitted:
    names = ("weight", "bias")[: len(c.blobs)]
    kind, helpers = ("nn.Embedding", ()) if len(c.blobs) == 1 else ("BiasedEmbedding", ("BiasedEmbedding",))
    state = dict(zip(names, c.blobs, strict=True))
    return Emitted(make(kind, *c.blobs[0].shape), "{self}({0}.long())", state, names, helpers)


@emits("Scale", "ScaleFixed", "Bias")
def scale(c: Case) -> Emitted:
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


@emits("RNN", "LSTM")
def recurrent(c: Case) -> Emitted:
    """Linear layers within: of the input, of the state, of a static input, and the RNN's of its output."""
    m, kind = c.module, c.layer.type
    blobs = dict(zip(m.blob_names, c.blobs, strict=True))
    names = {
        "input_weight": "input.weight",
        "bias": "input.bias",
        "static_weight": "static.weight",
        "hidden_weight": "hidden.weight",
        "output_weight": "output.weight",
        "output_bias": "output.bias",
    }
    static = blobs["static_weight"].shape[1] if m.has_static else 0
    inputs, exposed = blobs["input_weight"].shape[1], bool(m.exposed)
    text = make(kind, inputs, m.num_output, static=(static, 0), exposed=(exposed, False))
    state = {names[name]: values for name, values in blobs.items()}
    return Emitted(text, "", state, tuple(names[name] for name in m.blob_names), (kind,))


@emits("LSTMUnit")
def lstm_unit(c: Case) -> Emitted:
    return Emitted(call="lstm_unit({0}, {1}, {2}[..., None])", helpers=("lstm_unit",))


@emits("ContinuationIndicator")
def continuation_indicator(c: Case) -> Emitted:
    steps, streams = c.tops[0]
    told = (None if c.bottoms else streams, None)
    return Emitted(make("ContinuationIndicator", steps, streams=told), helpers=("ContinuationIndicator",))
