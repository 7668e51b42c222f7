"""Torch source of RNN, LSTM, LSTMUnit and ContinuationIndicator."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, emits, make


@emits("RNN", "LSTM")
def recurrent(c: LayerView) -> Emitted:
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
def lstm_unit(c: LayerView) -> Emitted:
    return Emitted(call="lstm_unit({0}, {1}, {2}[..., None])", helpers=("lstm_unit",))


@emits("ContinuationIndicator")
def continuation_indicator(c: LayerView) -> Emitted:
    steps, streams = c.tops[0]
    known_streams = (None if c.bottoms else streams, None)
    return Emitted(make("ContinuationIndicator", steps, streams=known_streams), helpers=("ContinuationIndicator",))
