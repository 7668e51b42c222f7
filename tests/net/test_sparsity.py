"""Which layers are thinned and counted, and which weights a threshold removes, in numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from caffecompat.net import Net
from caffecompat.net.sparsity import WeightLayer, find_weight_layers, smallest_to_zero
from caffecompat.schema import NetDocument, parse_text, pb

INF = math.inf
CONV = """layer {{ name: "{0}" type: "Convolution" bottom: "{1}" top: "{0}" {3}
  convolution_param {{ num_output: {2} kernel_size: 3 pad: 1 }} }}
"""
DATA = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 3, 4, 4] } } }\n'
SOFTMAX = 'layer { name: "prob" type: "Softmax" bottom: "b" top: "prob" }\n'


def layers_of(text: str) -> dict[str, WeightLayer]:
    net = Net(NetDocument.from_message(parse_text(DATA + text, pb.NetParameter())), pb.TEST, log=False)
    return {layer.name: layer for layer in find_weight_layers(net)}


@pytest.mark.parametrize(
    ("fraction", "ratio", "value", "stay"),
    [
        (0.5, INF, INF, [0, 0, 1, 1]),
        (0.74, INF, INF, [0, 0, 1, 1]),
        (0.75, INF, INF, [0, 0, 0, 1]),
        (0.24, INF, INF, [1, 1, 1, 1]),
        (-0.1, INF, INF, [1, 1, 1, 1]),
        (0.75, 0.5, INF, [0, 1, 1, 1]),  # below half of 4
        (0.75, INF, 3.0, [0, 0, 1, 1]),  # below 3
        (0.75, INF, 3.1, [0, 0, 0, 1]),
    ],
)
def test_the_smallest_of_a_row(fraction: float, ratio: float, value: float, stay: list[int]) -> None:
    rows = torch.tensor([[-1.0, 2.0, 3.0, -4.0]])
    assert smallest_to_zero(rows, fraction, ratio, value).int().tolist() == [stay]


def test_equal_magnitudes_stay_together_and_zeros_are_counted() -> None:
    rows = torch.tensor([[2.0, -2.0, 2.0, 5.0], [0.0, 0.0, 1.0, 5.0], [0.0, 0.0, 0.0, 0.0]])
    found = smallest_to_zero(rows, 0.5) & (rows != 0)
    assert found.int().tolist() == [[1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]]


def test_a_share_of_each_channel() -> None:
    weight = torch.randn(4, 72, generator=torch.Generator().manual_seed(0))
    stay = smallest_to_zero(weight, 0.5)
    assert (~stay).sum(1).tolist() == [36] * 4
    assert all(weight[c].abs()[~stay[c]].max() < weight[c].abs()[stay[c]].min() for c in range(4))
    assert weight.abs()[~smallest_to_zero(weight, 0.5, 1.0, 0.05)].max() < 0.05


def test_the_layers_that_jacinto_thins() -> None:
    layers = layers_of(
        CONV.format("few", "data", 31, "")
        + CONV.format("wider", "few", 32, "")
        + CONV.format("wide", "wider", 32, "")
        + CONV.format("depthwise", "wide", 32, "").replace("pad: 1", "pad: 1 group: 32")
        + CONV.format("grouped", "wide", 32, "").replace("pad: 1", "pad: 1 group: 16")
        + CONV.format("point", "wide", 64, "").replace("kernel_size: 3 pad: 1", "kernel_size: 1")
        + CONV.format("row", "wide", 64, "").replace("kernel_size: 3 pad: 1", "kernel_h: 1 kernel_w: 3")
        + 'layer { name: "fc" type: "InnerProduct" bottom: "wide" top: "fc" inner_product_param { num_output: 40 } }'
    )
    assert {name: layer.fraction(0.8) for name, layer in layers.items()} == {
        "few": None, "wider": 0.4, "wide": 0.8, "depthwise": None, "grouped": 0.8, "point": None, "row": None,
        "fc": None,
    }  # fmt: skip


def test_the_layers_that_jacinto_counts() -> None:
    named = CONV.format("a", "data", 2, 'param { name: "w" }') + CONV.format("b", "a", 2, "")
    layers = layers_of(named + SOFTMAX)
    assert {layer.label: layer.counts for layer in layers.values()} == {"a_param_w": True, "b_param_0": False}
    also = 'layer { name: "max" type: "ArgMax" bottom: "b" top: "max" }\n'  # a Split lies in between
    assert layers_of(named + SOFTMAX + also)["b"].counts
    relu = 'layer { name: "relu" type: "ReLU" bottom: "b" top: "b" }\n'
    assert layers_of(named + relu + SOFTMAX)["b"].counts


def test_rows_are_outputs() -> None:
    text = """
layer { name: "up" type: "Deconvolution" bottom: "data" top: "up"
  convolution_param { num_output: 6 group: 3 kernel_size: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
  inner_product_param { num_output: 5 transpose: true } }
layer { name: "plain" type: "InnerProduct" bottom: "data" top: "plain" inner_product_param { num_output: 5 } }
"""
    layers = layers_of(text)
    assert [len(layer.by_output(layer.weight)) for layer in layers.values()] == [6, 5, 5]
    for layer in layers.values():
        values = torch.arange(float(layer.weight.numel())).view(layer.weight.shape)
        assert torch.equal(layer.from_output(layer.by_output(values)), values)
    up = np.arange(24.0).reshape(3, 2, 2, 2)  # (C_in, C_out / group, kh, kw): an input feeds two outputs
    assert layers["up"].by_output(torch.from_numpy(up)).tolist() == up.reshape(6, 4).tolist()
    two = WeightLayer("d", "Deconvolution", torch.nn.Parameter(torch.zeros(4, 3, 1, 1)), 2, "d_param_0", False)
    rows = two.by_output(torch.arange(12.0).view(4, 3, 1, 1))
    assert rows.tolist() == [[0, 3], [1, 4], [2, 5], [6, 9], [7, 10], [8, 11]]
