"""The power-of-two grid: rounding, positions, the neuron's memory, straight-through gradients."""

from __future__ import annotations

import pytest
import torch

from caffecompat.layers import LayerError
from caffecompat.layers.fixed_point import ALL_ZERO, find_position
from caffecompat.layers.functional.fixed_point import to_grid
from caffecompat.layers.functional.rounding import round_away, round_up
from caffecompat.schema import pb
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
