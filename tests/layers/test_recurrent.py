"""RNN, LSTM and LSTMUnit: against torch's own, and what Caffe says of states, indicators and static inputs."""

import pytest
import torch
from torch import Tensor, nn

from caffecompat.layers import Layer, LayerError
from caffecompat.net.meta import run_on_meta
from tests.layers.make import make_layer

STEPS, STREAMS, INPUTS, OUTPUTS = 5, 3, 4, 2
FILLERS = 'weight_filler { type: "gaussian" std: 0.5 } bias_filler { type: "gaussian" std: 0.5 }'
SHAPES = ((STEPS, STREAMS, INPUTS), (STEPS, STREAMS))


def recurrent(kind: str, *more: tuple[int, ...], fields: str = "", tops: int = 1) -> Layer:
    named = "".join(f'top: "t{index}" ' for index in range(tops))
    text = f'type: "{kind}" {named} recurrent_param {{ num_output: {OUTPUTS} {FILLERS} {fields} }}'
    return make_layer(text, *SHAPES, *more)


def going_on(steps: int = STEPS) -> Tensor:
    """Indicators of streams that all begin at the first step."""
    cont = torch.ones(steps, STREAMS)
    cont[0] = 0
    return cont


def torch_lstm(layer: Layer) -> nn.LSTM:
    """torch's LSTM with a layer's weights; its gates are input, forget, candidate, output."""
    lstm = nn.LSTM(INPUTS, OUTPUTS)

    def reordered(blob: Tensor) -> Tensor:
        i, f, o, g = blob.detach().chunk(4)
        return torch.cat([i, f, g, o])

    w_xc, b_c, w_hc = layer.blobs
    lstm.weight_ih_l0.data, lstm.weight_hh_l0.data = reordered(w_xc), reordered(w_hc)
    lstm.bias_ih_l0.data, lstm.bias_hh_l0.data = reordered(b_c), torch.zeros(4 * OUTPUTS)
    return lstm


def test_lstm_computes_what_torch_computes() -> None:
    layer = recurrent("LSTM")
    x = torch.randn(SHAPES[0], requires_grad=True)
    expected, _ = torch_lstm(layer)(x)
    top = layer(x, going_on())
    torch.testing.assert_close(top, expected)
    (ours,) = torch.autograd.grad(top.square().sum(), x)
    (theirs,) = torch.autograd.grad(expected.square().sum(), x)
    torch.testing.assert_close(ours, theirs)


def test_rnn_computes_what_torch_computes() -> None:
    layer = recurrent("RNN")
    w_xh, b_h, w_hh, w_ho, b_o = (blob.detach() for blob in layer.blobs)
    rnn = nn.RNN(INPUTS, OUTPUTS)
    rnn.weight_ih_l0.data, rnn.weight_hh_l0.data = w_xh, w_hh
    rnn.bias_ih_l0.data, rnn.bias_hh_l0.data = b_h, torch.zeros(OUTPUTS)
    x = torch.randn(SHAPES[0])
    hidden, _ = rnn(x)
    torch.testing.assert_close(layer(x, going_on()), torch.tanh(hidden @ w_ho.t() + b_o))


@pytest.mark.parametrize(
    ("kind", "shapes"),
    [
        ("LSTM", {"input_weight": (8, 4), "bias": (8,), "hidden_weight": (8, 2)}),
        ("RNN", {"input_weight": (2, 4), "bias": (2,), "hidden_weight": (2, 2), "output_weight": (2, 2)}),
    ],
)
def test_blobs_stand_in_caffes_order(kind: str, shapes: dict[str, tuple[int, ...]]) -> None:
    layer = recurrent(kind)
    names = [*shapes, "output_bias"][: len(layer.blob_names)]
    assert layer.blob_names == names
    assert [tuple(blob.shape) for blob in layer.blobs][: len(shapes)] == list(shapes.values())
    with_static = recurrent(kind, (STREAMS, 6))
    assert with_static.blob_names == [*names[:2], "static_weight", *names[2:]]
    assert tuple(with_static.blobs[2].shape) == (shapes["bias"][0], 6)


@pytest.mark.parametrize("kind", ["RNN", "LSTM"])
class TestState:
    def test_a_pass_goes_on_where_the_last_one_ended(self, kind: str) -> None:
        layer, x = recurrent(kind), torch.randn(2 * STEPS, STREAMS, INPUTS)
        whole = layer(x, going_on(2 * STEPS))
        first = layer(x[:STEPS], going_on())
        second = layer(x[STEPS:], torch.ones(STEPS, STREAMS))
        torch.testing.assert_close(torch.cat([first, second]), whole)

    def test_an_indicator_of_0_begins_a_stream_anew(self, kind: str) -> None:
        layer, x, cont = recurrent(kind), torch.randn(SHAPES[0]), going_on()
        cont[2, 1] = 0
        top = layer(x, cont)
        alone = layer(x[2:], going_on(STEPS - 2))
        torch.testing.assert_close(top[2:, 1], alone[:, 1])
        assert not torch.allclose(top[2:, 0], alone[:, 0])

    def test_it_is_zero_at_first_and_with_another_number_of_streams(self, kind: str) -> None:
        layer, x = recurrent(kind), torch.randn(SHAPES[0])
        torch.testing.assert_close(layer(x, torch.ones(SHAPES[1])), layer(x, going_on()))
        fewer = layer(x[:, :2], torch.ones(STEPS, 2))
        torch.testing.assert_close(fewer, layer(x[:, :2], going_on()[:, :2]))

    def test_shape_inference_leaves_it_alone(self, kind: str) -> None:
        layer, x = recurrent(kind), torch.randn(SHAPES[0])
        layer(x, going_on())
        before = [getattr(layer, f"last_{name}").clone() for name in layer.states]
        inferred = run_on_meta(layer, [(7, 2, INPUTS), (7, 2)])
        assert inferred.shape == (7, 2, OUTPUTS)
        for name, state in zip(layer.states, before, strict=True):
            torch.testing.assert_close(getattr(layer, f"last_{name}"), state)

    def test_no_gradient_reaches_the_pass_before(self, kind: str) -> None:
        layer, x = recurrent(kind), torch.randn(SHAPES[0], requires_grad=True)
        layer(x, going_on())
        later = torch.randn(SHAPES[0], requires_grad=True)
        layer(later, torch.ones(SHAPES[1])).sum().backward()
        assert x.grad is None and later.grad is not None

    def test_it_is_no_part_of_the_weights(self, kind: str) -> None:
        layer = recurrent(kind)
        assert set(layer.state_dict()) == set(layer.blob_names)


@pytest.mark.parametrize(("kind", "states"), [("RNN", 1), ("LSTM", 2)])
def test_exposed_states_are_bottoms_and_tops(kind: str, states: int) -> None:
    state = [(1, STREAMS, OUTPUTS)] * states
    layer, x = recurrent(kind, *state, fields="expose_hidden: true", tops=1 + states), torch.randn(SHAPES[0])
    zeros = [torch.zeros(1, STREAMS, OUTPUTS) for _ in range(states)]
    top, *behind = layer(x[:3], torch.ones(3, STREAMS), *zeros)
    rest, *_ = layer(x[3:], torch.ones(2, STREAMS), *behind)
    plain = recurrent(kind)
    for ours, theirs in zip(plain.blobs, layer.blobs, strict=True):
        ours.data = theirs.data
    torch.testing.assert_close(torch.cat([top, rest]), plain(x, going_on()))
    assert all(part.shape == (1, STREAMS, OUTPUTS) and not part.requires_grad for part in behind)
    assert [layer.needs_gradient(index) for index in range(2 + states)] == [True, False] + [False] * states


@pytest.mark.parametrize("kind", ["RNN", "LSTM"])
def test_a_static_input_acts_at_every_step(kind: str) -> None:
    layer = recurrent(kind, (STREAMS, 2, 3))
    static = torch.randn(STREAMS, 2, 3, requires_grad=True)
    x = torch.randn(SHAPES[0])
    top = layer(x, going_on(), static)
    same = recurrent(kind)
    for name in same.blob_names:
        getattr(same, name).data = getattr(layer, name).data
    given = static.detach().flatten(1) @ layer.static_weight.detach().t()
    expected = []
    for stream in range(STREAMS):  # each by itself: there the input is a part of the bias
        same.forget()
        same.bias.data = layer.bias.data + given[stream]
        expected.append(same(x[:, stream : stream + 1], going_on()[:, :1]))
    expected = torch.cat(expected, 1)
    torch.testing.assert_close(top, expected)
    top[-1].sum().backward()
    assert static.grad is not None and static.grad.abs().sum() > 0
    assert layer.needs_gradient(2)


def test_multiplications_are_counted() -> None:
    shapes = [*SHAPES, (STREAMS, 6)]
    lstm, rnn = recurrent("LSTM", (STREAMS, 6)), recurrent("RNN", (STREAMS, 6))
    steps = STEPS * STREAMS
    assert lstm.macs(shapes, []) == steps * (8 * 4 + 8 * 2) + STREAMS * 8 * 6
    assert rnn.macs(shapes, []) == steps * (2 * 4 + 2 * 2 + 2 * 2) + STREAMS * 2 * 6


def test_unit_is_one_step_of_lstm() -> None:
    layer = recurrent("LSTM")
    unit = make_layer('type: "LSTMUnit" top: "c" top: "h"', (1, STREAMS, OUTPUTS), (1, STREAMS, 8), (1, STREAMS))
    x, cont = torch.randn(SHAPES[0]), going_on()
    top = layer(x, cont)
    c = h = torch.zeros(1, STREAMS, OUTPUTS)
    for step in range(STEPS):
        inputs = torch.nn.functional.linear(x[step : step + 1], layer.input_weight, layer.bias)
        gates = inputs + (h * cont[step, :, None]) @ layer.hidden_weight.t()
        c, h = unit(c, gates, cont[step : step + 1])
        torch.testing.assert_close(h[0], top[step])
    assert [unit.needs_gradient(index) for index in range(3)] == [True, True, False]


def test_continuation_indicators_start_all_streams_anew_in_each_pass(capsys: pytest.CaptureFixture[str]) -> None:
    text = f"time_step: {STEPS} batch_size: {STREAMS}"
    layer = make_layer(f'type: "ContinuationIndicator" continuation_indicator_param {{ {text} }}')
    assert torch.equal(layer(), going_on())
    layer().zero_()  # by a layer that works in place
    assert torch.equal(layer(), going_on())
    assert layer.double()().dtype == torch.double and not layer.state_dict()
    assert run_on_meta(layer, []).shape == SHAPES[1]
    one = make_layer('type: "ContinuationIndicator" continuation_indicator_param { time_step: 1 batch_size: 2 }')
    assert one().tolist() == [[0, 0]]
    of_batch = make_layer('type: "ContinuationIndicator" continuation_indicator_param { time_step: 2 }', (3, 5))
    assert of_batch(torch.randn(4, 5)).tolist() == [[0] * 4, [1] * 4] and not of_batch.needs_gradient(0)
    text = 'type: "ContinuationIndicator" continuation_indicator_param { time_step: 2 batch_size: 3 }'
    assert make_layer(text, (3, 5))(torch.zeros(3, 5)).shape == (2, 3) and not capsys.readouterr().err
    assert make_layer(text, (4, 5))(torch.zeros(4, 5)).shape == (2, 4)
    assert "batch_size 3 has no effect; its bottom 'b0' has 4 items" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "shapes", "message"),
    [
        ('type: "LSTM"', SHAPES, "num_output is missing"),
        ('type: "LSTM" recurrent_param { num_output: 2 }', SHAPES[:1], r"LSTM takes .*bottom blob\(s\).*has 1"),
        ('type: "LSTM" recurrent_param { num_output: 2 }', ((5, 3), (5, 3)), r"\(steps, streams, values, ...\)"),
        ('type: "LSTM" recurrent_param { num_output: 2 }', ((5, 3, 4), (5, 3, 1)), r"indicator .* \(5, 3\)"),
        ('type: "RNN" recurrent_param { num_output: 2 }', (*SHAPES, (4, 2)), r"third bottom must be \(3, values"),
        ('type: "RNN" recurrent_param { num_output: 2 }', (*SHAPES, (3, 2), (3, 2)), "RNN takes 2 to 3 bottom"),
        (
            'type: "RNN" top: "o" top: "h" recurrent_param { num_output: 2 expose_hidden: true }',
            (*SHAPES, (3, 2)),
            r"exposed state h must have shape \(1, 3, 2\)",
        ),
        ('type: "RNN" recurrent_param { num_output: 2 expose_hidden: true }', (*SHAPES, (1, 3, 2)), "takes 2 top"),
        (
            'type: "RNN" propagate_down: true propagate_down: true recurrent_param { num_output: 2 }',
            SHAPES,
            "indicators .*have none",
        ),
        ('type: "ContinuationIndicator" continuation_indicator_param { batch_size: 2 }', (), "needs time_step"),
        ('type: "ContinuationIndicator" continuation_indicator_param { time_step: 2 }', (), "needs batch_size"),
        ('type: "ContinuationIndicator"', ((2, 3),), "needs time_step"),
        ('type: "ContinuationIndicator" continuation_indicator_param { time_step: 2 }', ((),), "'b0', .* single value"),
        ('type: "ContinuationIndicator"', ((2, 3), (2,)), r"takes 0 to 1 bottom blob\(s\)"),
        ('type: "LSTMUnit" top: "c" top: "h"', ((1, 3, 2), (1, 3, 7), (1, 3)), r"second bottom must be \(1, 3, 8\)"),
        ('type: "LSTMUnit" top: "c" top: "h"', ((2, 3, 2), (2, 3, 8), (2, 3)), "first bottom must be"),
        ('type: "LSTMUnit" top: "c" top: "h"', ((1, 3, 2), (1, 3, 8), (1, 2)), r"third bottom must be \(1, 3\)"),
    ],
)
def test_mistakes(text: str, shapes: tuple[tuple[int, ...], ...], message: str) -> None:
    with pytest.raises(LayerError, match=message):
        make_layer(text, *shapes)


@pytest.mark.parametrize("kind", ["RNN", "LSTM"])
def test_long_sequences_warn_once_where_they_are_computed(
    kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their steps are computed one after another; shapes are found without."""
    monkeypatch.setattr("caffecompat.layers.recurrent._LONG", 7)
    steps = 8
    layer = make_layer(f'type: "{kind}" name: "r" recurrent_param {{ num_output: 2 }}', (steps, 1, 4), (steps, 1))
    run_on_meta(layer, [(steps, 1, 4), (steps, 1)])
    layer(torch.zeros(7, 1, 4), torch.ones(7, 1))
    assert not capsys.readouterr().err
    for _ in range(2):
        assert layer(torch.zeros(steps, 1, 4), torch.ones(steps, 1)).shape == (steps, 1, 2)
    assert capsys.readouterr().err.count(f"layer 'r' ({kind}): 8 steps are computed one after another") == 1
