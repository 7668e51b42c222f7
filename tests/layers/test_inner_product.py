"""InnerProduct and Embed."""

import pytest
import torch

from caffecompat.layers import LayerError
from tests.layers.make import make_layer

GAUSSIAN = 'weight_filler { type: "gaussian" std: 1 } bias_filler { type: "gaussian" std: 1 }'


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_transposed_weight_is_the_same_layer(axis):
    shape = (3, 2, 4, 5)
    text = f'type: "InnerProduct" inner_product_param {{ num_output: 6 axis: {axis} {GAUSSIAN} '
    plain, transposed = make_layer(text + "}", shape), make_layer(text + "transpose: true }", shape)
    assert transposed.weight.shape == plain.weight.t().shape
    transposed.weight.data.copy_(plain.weight.t())
    transposed.bias.data.copy_(plain.bias)
    x = torch.randn(shape)
    top = plain(x)
    assert top.shape == (*shape[: axis % 4], 6)
    assert torch.allclose(top, transposed(x), atol=1e-5)
    assert plain.macs([shape], [tuple(top.shape)]) == top.numel() * plain.weight.shape[1]


def test_channels_last_bottom_is_flattened_in_channel_order():
    x = torch.randn(2, 3, 4, 5)
    layer = make_layer(f'type: "InnerProduct" inner_product_param {{ num_output: 2 {GAUSSIAN} }}', x.shape)
    assert torch.allclose(layer(x.contiguous(memory_format=torch.channels_last)), layer(x), atol=1e-5)


def test_errors():
    with pytest.raises(LayerError, match="num_output is missing"):
        make_layer('type: "InnerProduct"', (1, 2))
    layer = make_layer('type: "InnerProduct" inner_product_param { num_output: 2 }', (1, 12))
    with pytest.raises(LayerError, match=r"takes 12 inputs, a bottom of shape \(1, 10\) gives 10"):
        layer(torch.zeros(1, 10))


class TestEmbed:
    TEXT = f'type: "Embed" embed_param {{ num_output: 3 input_dim: 5 {GAUSSIAN} }}'

    def test_rows_and_their_gradient(self):
        layer = make_layer(self.TEXT, (2, 2))
        index = torch.tensor([[4.0, 0.0], [4.0, 1.0]])
        top = layer(index)
        assert torch.allclose(top[1, 0], layer.weight[4] + layer.bias)
        top.sum().backward()
        assert layer.weight.grad[:, 0].tolist() == [1, 1, 0, 0, 2]
        assert not layer.needs_gradient(0)

    def test_errors(self):
        with pytest.raises(LayerError, match="input_dim"):
            make_layer('type: "Embed" embed_param { num_output: 3 }', (2,))
