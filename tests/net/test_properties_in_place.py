"""In place is naming: a chain of layers that work in place computes and learns as one in which each has its own top."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caffecompat.net import Net
from caffecompat.net.interpreter import Interpreter
from caffecompat.schema import pb
from tests.net.nets import INPUT, conv, layer, make_net

LINKS = {
    "BNLL": "",
    "BatchNorm": "",
    "Bias": 'bias_param { filler { type: "uniform" } }',
    "Clip": "clip_param { min: -1 max: 1.5 }",
    "DropPath": "drop_path_param { drop_prob: 0.3 }",
    "Dropout": "",
    "ELU": "",
    "Exp": "exp_param { scale: 0.3 }",
    "GELU": "",
    "HardSigmoid": "",
    "HardSwish": "",
    "Mish": "",
    "PReLU": "",
    "Power": "power_param { scale: 0.5 shift: 0.1 }",
    "ReLU": "",
    "Scale": 'scale_param { filler { type: "uniform" min: 0.5 } bias_term: true }',
    "Sigmoid": "",
    "Softmax": "",
    "Swish": "",
    "TanH": "",
}
DATA = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def chain(kinds: list[str], in_place: bool) -> str:
    """conv, the chain, another conv, and a loss; the chain's blob is read twice."""
    text, blob = INPUT + conv("first", "data"), "first"
    for index, kind in enumerate(kinds):
        top = blob if in_place else f"t{index}"
        text += layer(kind, blob, top, LINKS[kind], name=f"l{index}")
        blob = top
    return (
        text
        + conv("left", blob)
        + conv("right", blob)
        + 'layer { name: "loss" type: "EuclideanLoss" bottom: "left" bottom: "right" top: "loss" }'
    )


def trained(net: Net, by_steps: bool) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Outputs and the parameters' gradients of one pass, by the module or step by step."""
    for param in net.params:
        param.blob.grad = None
    torch.manual_seed(3)
    if by_steps:
        interpreter = Interpreter(net)
        interpreter.blobs["data"].data[...] = DATA
        interpreter.forward()
        interpreter.backward()
        outputs = [interpreter.blobs[name].data.copy() for name in net.outputs]
    else:
        tops = net.forward({"data": DATA})
        net.loss(tops).backward()
        outputs = [tops[name].detach().numpy() for name in net.outputs]
    return outputs, [np.zeros(1) if p.blob.grad is None else p.blob.grad.numpy().copy() for p in net.params]


@pytest.mark.parametrize("phase", [pb.TRAIN, pb.TEST])
@settings(max_examples=10, deadline=None, derandomize=True, database=None)
@given(kinds=st.lists(st.sampled_from(sorted(LINKS)), min_size=1, max_size=4))
def test_in_place_changes_nothing(phase: int, kinds: list[str]) -> None:
    nets = [make_net(chain(kinds, in_place), phase) for in_place in (False, True)]
    nets[1].share_from(nets[0])
    results = [trained(net, by_steps) for net in nets for by_steps in (False, True)]
    expected_outputs, expected_grads = results[0]
    for outputs, grads in results[1:]:
        for one, other in zip((*outputs, *grads), (*expected_outputs, *expected_grads), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
