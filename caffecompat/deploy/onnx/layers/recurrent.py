"""ONNX of RNN, LSTM and LSTMUnit, the steps one after another, since their number is known; of their indicators."""

from __future__ import annotations

import numpy as np

from caffecompat.deploy.onnx.emission import Emission, UnsupportedLayer, emits

_MOST_STEPS = 10_000  # a dozen nodes each; ONNX Runtime needs minutes to load as many


def _steps(e: Emission) -> tuple[list[str], list[str]]:
    """What the inputs give to each step (N, gates H), and each step's indicators (N, 1)."""
    steps, streams = e.shape[:2]
    if steps > _MOST_STEPS:
        raise UnsupportedLayer(
            f"{steps:,} steps: an ONNX model has the nodes of each step, which is for up to {_MOST_STEPS:,}; cut the "
            "sequence, and give the state from part to part with expose_hidden: true"
        )
    rows = e.reshape(e.bottoms[0], (steps * streams, -1))
    inputs = e.op("Gemm", rows, e.parameter("input_weight"), e.parameter("bias"), transB=1)
    inputs = e.reshape(inputs, (steps, streams, -1))
    if e.module.has_static:
        static = e.reshape(e.bottoms[2], (streams, -1))
        inputs = e.op("Add", inputs, e.op("Gemm", static, e.parameter("static_weight"), transB=1))
    goes_on = e.reshape(e.bottoms[1], (steps, streams, 1))
    return [_at(e, inputs, step) for step in range(steps)], [_at(e, goes_on, step) for step in range(steps)]


def _at(e: Emission, value: str, step: int) -> str:
    return e.op("Gather", value, e.ints(step, "step"), axis=0)


def _states(e: Emission) -> list[str]:
    """The state before the first step, (N, H) each: bottoms, or the zeros that a fresh net has.

    Between runs a model keeps nothing, where Caffe's next pass goes on from the last one's state as `cont` says.
    """
    m, streams = e.module, e.shape[1]
    if m.exposed:
        return [e.reshape(bottom, (streams, m.num_output)) for bottom in e.bottoms[-m.exposed :]]
    e.note("each run begins from zeros; expose_hidden: true makes the state an input and an output that can go on")
    return [e.const(np.zeros((streams, m.num_output)), what="state") for _ in m.states]


def _finish(e: Emission, tops: list[str], states: list[str]) -> str:
    """Join the steps' outputs; exposed states become tops."""
    streams, size = e.shape[1], e.module.num_output
    for top, state in zip(e.tops[1:], states, strict=False):
        e.reshape(state, (1, streams, size), top)
    return e.op("Concat", *[e.reshape(top, (1, streams, size)) for top in tops], axis=0)


@emits("RNN")
def rnn(e: Emission) -> None:
    """h = tanh(input + W cont h), top tanh(W_o h + b_o)."""
    inputs, goes_on = _steps(e)
    (h,) = _states(e)
    hidden = []
    for given, go in zip(inputs, goes_on, strict=True):
        h = e.op("Tanh", e.op("Gemm", e.op("Mul", h, go), e.parameter("hidden_weight"), given, transB=1))
        hidden.append(h)
    joined = _finish(e, hidden, [h])
    size = e.module.num_output
    rows = e.reshape(joined, (-1, size))
    made = e.op("Gemm", rows, e.parameter("output_weight"), e.parameter("output_bias"), transB=1)
    e.reshape(e.op("Tanh", made), e.top_shapes[0], e.tops[0])


@emits("LSTM")
def lstm(e: Emission) -> None:
    """The cell of `lstm_unit`, step by step."""
    inputs, goes_on = _steps(e)
    h, c = _states(e)
    tops = []
    for given, go in zip(inputs, goes_on, strict=True):
        gates = e.op("Gemm", e.op("Mul", h, go), e.parameter("hidden_weight"), given, transB=1)
        c, h = _unit(e, c, gates, go, e.module.num_output, axis=1)
        tops.append(h)
    e.reshape(_finish(e, tops, [h, c]), e.top_shapes[0], e.tops[0])


@emits("LSTMUnit")
def lstm_unit(e: Emission) -> None:
    """One step."""
    cells, gates, cont = e.bottoms
    c, h = _unit(e, cells, gates, e.reshape(cont, (1, e.shape[1], 1)), e.shape[2], axis=2)
    for top, value in zip(e.tops, (c, h), strict=True):
        e.op("Identity", value, to=top)


def _unit(e: Emission, c: str, gates: str, go: str, size: int, axis: int) -> tuple[str, str]:
    """c' = cont f c + i g, h' = o tanh(c')."""
    parts = [e.slice(gates, [at * size], [(at + 1) * size], [axis]) for at in range(4)]
    i, f, o = (e.op("Sigmoid", part) for part in parts[:3])
    kept = e.op("Mul", e.op("Mul", f, go), c)
    c = e.op("Add", kept, e.op("Mul", i, e.op("Tanh", parts[3])))
    return c, e.op("Mul", o, e.op("Tanh", c))


@emits("ContinuationIndicator")
def continuation_indicator(e: Emission) -> None:
    """A constant."""
    indicators = np.ones(e.top_shapes[0])
    indicators[0] = 0
    e.alias(0, e.const(indicators, what="indicators"))
