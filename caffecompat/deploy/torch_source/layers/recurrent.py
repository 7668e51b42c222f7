"""Torch source of RNN, LSTM, LSTMUnit and ContinuationIndicator."""

from __future__ import annotations

import numpy as np

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, calling, emits, parameter, parameters


@emits("RNN", "LSTM")
def recurrent(c: LayerView) -> Emitted:
    """A function of the weights; without an exposed state it is given the one after the call before."""
    m = c.module
    state = dict(zip(m.blob_names, c.blobs, strict=True))
    given = [f"{{{i}}}" for i in range(len(c.bottoms))]
    start = f"({', '.join(given[-m.exposed :])}{',' if m.exposed == 1 else ''})" if m.exposed else "{state}"
    call = calling(c.layer.type.lower(), "{0}", "{1}", start, *given[2:3] * m.has_static, "**{self}")
    return Emitted(parameters(state), call, state, tuple(state), remembers=not m.exposed)


@emits("LSTMUnit")
def lstm_unit(c: LayerView) -> Emitted:
    return Emitted(call="lstm_unit({0}, {1}, {2}[..., None])")


@emits("ContinuationIndicator")
def continuation_indicator(c: LayerView) -> Emitted:
    steps, streams = c.tops[0]
    if c.bottoms:
        return Emitted(call=f"continuation_indicators({steps}, {{0}}.shape[0], {{0}}.device)")
    values = np.ones((steps, streams), np.float32)
    values[0] = 0
    return Emitted(parameter(values, learned=False), "{self}", {"": values})
