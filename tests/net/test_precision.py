"""FLOAT16 nets of NVCaffe: half-precision layers, single-precision losses and weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from caffecompat.net import Net
from caffecompat.net.trace import trace
from caffecompat.schema import parse_text, pb

NET = """
layer {{ name: "data" type: "Input" top: "data" top: "label"
  input_param {{ shape {{ dim: 2 dim: 3 dim: 8 dim: 8 }} shape {{ dim: 2 }} }} }}
layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv" {first}
  convolution_param {{ num_output: 4 kernel_size: 3 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "ip" type: "InnerProduct" bottom: "conv" top: "ip" {second}
  inner_product_param {{ num_output: 5 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }}
"""


def _types(text: str) -> tuple[Net, dict[str, torch.dtype]]:
    net = Net(parse_text(text, pb.NetParameter()), pb.TRAIN, log=False)
    types: dict[str, torch.dtype] = {}
    for layer in net.layers:
        if layer.module is not None:
            layer.module.register_forward_hook(
                lambda module, bottoms, top, name=layer.name: types.__setitem__(name, top.dtype)
            )
    loss = net.loss(net.forward({"data": torch.randn(2, 3, 8, 8), "label": torch.tensor([1.0, 4.0])}))
    loss.backward()
    return net, types


def test_default_type_halves_all_but_the_loss():
    net, types = _types("default_forward_type: FLOAT16 global_grad_scale: 8" + NET.format(first="", second=""))
    assert types == {"conv": torch.bfloat16, "ip": torch.bfloat16, "loss": torch.float32}
    assert net.half_precision
    assert all(p.blob.dtype == p.blob.grad.dtype == torch.float32 for p in net.params)


def test_what_comes_out_is_single_precision():
    """Whoever takes outputs and traces to numpy, which knows no bfloat16, need not care."""
    text = "default_forward_type: FLOAT16" + NET.format(first="", second="").rsplit("layer {", 1)[0]
    net = Net(parse_text(text, pb.NetParameter()), pb.TEST, log=False)
    inputs = {"data": torch.randn(2, 3, 8, 8), "label": torch.zeros(2)}
    with torch.no_grad():
        assert net.forward(inputs)["ip"].dtype == torch.float32
    assert {array.dtype for _, tops in trace(net, inputs) for array in tops} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [("forward_type: FLOAT16", "", (torch.bfloat16, torch.float32)), ("", "", (torch.float32, torch.float32))],
)
def test_layers_state_their_own_type(first, second, expected):
    net, types = _types(NET.format(first=first, second=second))
    assert (types["conv"], types["ip"]) == expected
    assert net.half_precision == bool(first)
