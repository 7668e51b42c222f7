"""The power-of-two grid: rounding, positions, the neuron's memory, straight-through gradients."""

from __future__ import annotations

import pytest
import torch

from caffecompat.layers import LayerError
from caffecompat.layers.fixed_point import ALL_ZERO, NO_POSITION, activations_to_grid, find_position
from caffecompat.layers.functional.fixed_point import to_grid
from caffecompat.layers.functional.rounding import round_away, round_up
from caffecompat.net import Net
from caffecompat.schema import NetDocument, parse_text, pb
from tests.layers.make import make_layer

METHODS = pb.FixedParameter


def test_halves_round_apart():
    values = torch.tensor([0.5, 1.5, -0.5, -1.5, 0.49999997, -0.25, 2.0])
    assert round_away(values).tolist() == [1, 2, -1, -2, 0, 0, 2]
    assert round_up(values).tolist() == [1, 2, 0, -1, 0, 0, 2]


def test_the_grid_clamps_to_the_signed_range():
    assert to_grid(torch.tensor([100.0, -100.0, 0.3]), 2, 4).tolist() == [1.75, -2.0, 0.25]
    assert to_grid(torch.tensor([5.0]), ALL_ZERO, 8).tolist() == [0]
    assert to_grid(torch.tensor([37.0]), -3, 8).tolist() == [40]


SPREAD = torch.linspace(-9.0, 9.0, 2 * 3 * 100 * 101).reshape(2, 3, 100, 101)
IN_MEMORY = {
    "rows": SPREAD,
    "channels last": SPREAD.contiguous(memory_format=torch.channels_last),
    "with gaps": SPREAD.contiguous(memory_format=torch.channels_last)[:, 1:],
    "transposed": SPREAD.transpose(2, 3),
}


@pytest.mark.parametrize("order", IN_MEMORY)
@pytest.mark.parametrize("position", [-2, 3, 5, 127, 140, ALL_ZERO])
def test_activations_in_parts_are_those_of_the_grid(order, position):
    values = IN_MEMORY[order] if position < 100 else IN_MEMORY[order] * 2.0**-position
    wanted = to_grid(values, position, 8, upwards=True)
    assert torch.equal(activations_to_grid(values, position, 8), wanted)
    own = values.clone()
    assert activations_to_grid(own, position, 8, in_place=True) is own
    assert torch.equal(own, wanted)


@pytest.mark.parametrize("order", IN_MEMORY)
@pytest.mark.parametrize("bits", [4, 8, 12])
def test_the_search_finds_the_least_squares(order, bits):
    values = IN_MEMORY[order] ** 3
    first = find_position(values, bits, METHODS.OVER_FLOW)
    errors = {
        position: (to_grid(values, position, bits).double() - values.double()).square().sum().item()
        for position in range(first, first + 5)
    }
    assert find_position(values, bits, METHODS.DIFF_S) == min(errors, key=errors.__getitem__)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
@pytest.mark.parametrize("method", [METHODS.OVER_FLOW, METHODS.DIFF_S, METHODS.DIFF_S_SIGMOID])
def test_what_is_no_number_has_no_position(wrong, method):
    assert find_position(torch.tensor([1.0, wrong]), 8, method) == NO_POSITION


@pytest.mark.parametrize(("values", "bits", "position"), [
    ([1.0, -1.0], 8, 6),
    ([0.99, -1.0], 8, 7),
    ([127.4], 8, 0),
    ([127.6], 8, -1),
    ([0.0, 0.0], 8, ALL_ZERO),
    ([1e-6], 8, 26),
])  # fmt: skip
def test_overflow_positions(values, bits, position):
    assert find_position(torch.tensor(values), bits, METHODS.OVER_FLOW) == position


def test_least_squares_prefers_many_small_values():
    values = torch.cat((torch.full((1000,), 0.1), torch.tensor([1.0])))
    assert find_position(values, 4, METHODS.OVER_FLOW) == 2
    assert find_position(values, 4, METHODS.DIFF_S) > 2


def test_the_neuron_keeps_the_most_frequent_position():
    layer = make_layer('type: "FixedNeuron" fixed_param { fixed_method: DIFF_S bit_width: 8 }', (1, 1, 1, 2))
    for size in (0.9, 100.0, 0.9):
        layer(torch.full((1, 1, 1, 2), size))
    fine, coarse = (find_position(torch.full((2,), size), 8, METHODS.DIFF_S) for size in (0.9, 100.0))
    assert layer.position.item() == fine
    layer(torch.full((1, 1, 1, 2), 100.0))
    assert layer.position.item() == coarse  # two each: the smaller position


def test_the_gradient_passes_through():
    layer = make_layer('type: "FixedNeuron" fixed_param { bit_width: 2 }', (1, 4))
    bottom = torch.tensor([[9.0, -9.0, 0.1, 0.2]], requires_grad=True)
    layer(bottom).backward(torch.arange(4.0)[None])
    assert bottom.grad.tolist() == [[0, 1, 2, 3]]


def test_parameters_stay_float_and_outputs_are_on_the_grid():
    layer = make_layer(
        'type: "InnerProductFixed" fixed_param { bit_width: 3 } '
        'inner_product_param { num_output: 2 weight_filler { type: "xavier" } bias_term: false }',
        (1, 3),
    )
    before = layer.weight.detach().clone()
    top = layer(torch.eye(3)[:1])
    position = find_position(before, 3, METHODS.OVER_FLOW)
    assert torch.equal(layer.weight, before)
    assert torch.allclose(top, to_grid(before, position, 3)[:, :1].T)


@pytest.mark.parametrize(("text", "message"), [
    ('type: "FixedNeuron" fixed_param { bit_width: 0 }', "not from 1 to 32"),
    ('type: "ScaleFixed" fixed_param { fixed_method: DIFF_A }', "DIFF_A works in FixedNeuron only"),
])  # fmt: skip
def test_refusals(text, message):
    with pytest.raises(LayerError, match=message):
        make_layer(text, (1, 3, 2, 2))


def test_neurons_in_place_change_nothing():
    """Written over where a single layer reads the blob, and kept where somebody looks at it, or gradients need it."""
    text = """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [2, 3, 8, 8] } } }
      layer { name: "a" type: "ConvolutionFixed" bottom: "data" top: "a" fixed_param { bit_width: 6 }
        convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "gaussian" std: 1 } } }
      layer { name: "n" type: "FixedNeuron" bottom: "a" top: "a" fixed_param { bit_width: 6 } }
      layer { name: "r" type: "ReLU" bottom: "a" top: "r" }
      layer { name: "m" type: "FixedNeuron" bottom: "r" top: "r" fixed_param { bit_width: 3 } }
      layer { name: "s" type: "Eltwise" bottom: "r" bottom: "r" top: "s" }
      layer { name: "o" type: "FixedNeuron" bottom: "s" top: "o" fixed_param { bit_width: 4 } }"""
    net = Net(NetDocument.from_message(parse_text(text, pb.NetParameter())), "TRAIN", log=False)
    assert [layer.name for layer in net.inplace_layers] == ["n", "m", "o"]
    data = torch.randn(2, 3, 8, 8)
    wanted = net(data)["o"]
    with torch.no_grad():
        found = net(data)["o"]
        net.allow_inplace(False)
        plain = net(data)["o"]
    assert torch.equal(found, plain) and torch.equal(found, wanted.detach())
    net.allow_inplace(True)
    net(data)["o"].sum().backward()
    assert net.blobs_by_layer()["a"] and net.layers[1].slots[0].parameter.grad is not None
