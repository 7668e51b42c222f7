"""Copies and pickles of nets: they compute the same, with parameters of their own."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.net.nets import INPUT, conv, layer, make_net

PERMISSIVE = 'param { name: "w" share_mode: PERMISSIVE }'
NETS = {
    "plain": INPUT + conv("a", "data") + layer("BatchNorm", "a", "n"),
    "half precision": "default_forward_type: FLOAT16\n" + INPUT + conv("a", "data"),
    "one half": INPUT + conv("a", "data", more="forward_type: FLOAT16") + layer("Softmax", "a", "s"),
    "shared": INPUT + conv("a", "data", more='param { name: "w" }') + conv("b", "data", more='param { name: "w" }'),
    "shared in another shape": INPUT
    + conv("a", "data", more='param { name: "w" }')
    + conv("b", "a", outputs=3, more=PERMISSIVE),
    "shared and half": "default_forward_type: FLOAT16\n"
    + INPUT
    + conv("a", "data", more='param { name: "w" }')
    + conv("b", "a", outputs=3, more=PERMISSIVE),
}


def _saved(thing: Any) -> Any:
    file = io.BytesIO()
    torch.save(thing, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("how", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing)), _saved])
@pytest.mark.parametrize("text", NETS.values(), ids=NETS)
def test_copies_have_weights_of_their_own(text: str, how: Callable[[Any], Any]) -> None:
    net = make_net(text)
    data = torch.randn(2, 3, 6, 6)
    before = net(data)  # with a pass done: what it leaves must not be in the way
    made = how(net)
    assert made.state_dict().keys() == net.state_dict().keys()
    assert len(list(made.parameters())) == len(net.params)
    _equal(made(data), before)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(2)
    changed = made(data)
    assert not any(torch.equal(changed[blob], before[blob]) for blob in before)
    _equal(net(data), before)
    made.load_state_dict(net.state_dict())
    _equal(made(data), before)


def _equal(tops: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> None:
    assert tops.keys() == others.keys()
    assert all(torch.equal(top, others[blob]) for blob, top in tops.items())


@pytest.mark.parametrize("how", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing)), _saved])
@pytest.mark.parametrize("text", NETS.values(), ids=NETS)
def test_copies_of_the_graph_module_alone(text: str, how: Callable[[Any], Any]) -> None:
    net = make_net(text)
    data = torch.randn(2, 3, 6, 6)
    before = net(data)
    made = how(net.graph_module)
    assert len(list(made.parameters())) == len(net.params)
    _equal(made(data), before)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(2)
    changed = made(data)
    assert not any(torch.equal(changed[blob], before[blob]) for blob in before)
    _equal(net(data), before)
    again = how(made)  # of a copy, too
    _equal(again(data), changed)


def test_copies_share_among_themselves_alone() -> None:
    net = make_net(NETS["shared in another shape"])
    made = copy.deepcopy(net)
    with torch.no_grad():
        made.a.weight.fill_(2)
    assert torch.equal(made.b.weight, torch.full((3, 4, 1, 1), 2.0))
    assert not (net.b.weight == 2).any()


def test_gradients_of_both_shapes_are_summed_into_the_one_parameter() -> None:
    net = make_net(NETS["shared in another shape"])
    net.forward({"data": torch.ones(2, 3, 6, 6)})["b"].sum().backward()
    weight = net.params[0].blob.detach().flatten()
    first, second = weight.clone().requires_grad_(), weight.clone().requires_grad_()
    bias = net.params[1].blob.detach()
    hidden = torch.ones(3) @ first.view(4, 3).T + bias
    (hidden @ second.view(3, 4).T).sum().mul(72).backward()
    assert first.grad is not None and second.grad is not None and net.params[0].blob.grad is not None
    torch.testing.assert_close(net.params[0].blob.grad.flatten(), first.grad + second.grad, rtol=1e-4, atol=1e-3)


def test_what_a_half_precision_module_gives_is_float32() -> None:
    """Also where it is called without Net.forward, as load_net's is."""
    tops = make_net(NETS["half precision"])(torch.randn(2, 3, 6, 6))
    assert {top.dtype for top in tops.values()} == {torch.float32}
