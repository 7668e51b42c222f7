"""Nets that compute with another net's parameters, and layers that share them by name there."""

import pytest
import torch

from caffecompat import glog
from caffecompat.net import Net, NetError
from tests.net.nets import INPUT, conv, layer, make_net

W = 'param { name: "w" }'
PERMISSIVE = 'param { name: "w" share_mode: PERMISSIVE }'
NO_BIAS = "bias_term: false kernel_size: 1"


def _conv(name: str, bottom: str, outputs: int, param: str) -> str:
    return conv(name, bottom, outputs=outputs, more=param).replace("kernel_size: 1", NO_BIAS)


TRAIN = INPUT + _conv("a", "data", 4, W)


def _ones() -> dict[str, torch.Tensor]:
    return {"data": torch.ones(2, 3, 6, 6)}


def _check(net: Net, name: str, trained: torch.Tensor) -> None:
    """The layer shows the trained values, and computes with them and with their changes."""
    slot = next(x for x in net.layers if x.name == name).slots[0]
    expected = trained.detach().view(slot.shape)
    assert torch.equal(slot.tensor(), expected)
    bottom = torch.ones(2, slot.shape[1], 6, 6)
    made = slot.module(bottom)[0, :, 0, 0]
    torch.testing.assert_close(made, expected.flatten(1).sum(1))


@pytest.mark.parametrize(
    "text",
    [
        TRAIN + _conv("b", "data", 4, W),  # the sharer is of this net alone
        INPUT + _conv("b", "data", 4, W) + _conv("a", "data", 4, W),  # it owns the parameter
        TRAIN + _conv("b", "a", 3, PERMISSIVE),  # in another shape
        INPUT + _conv("x", "data", 4, "") + _conv("b", "x", 3, W) + _conv("a", "data", 4, PERMISSIVE),
    ],
)
def test_sharers_follow_what_is_shared_between_nets(text: str) -> None:
    train = make_net(TRAIN)
    tests = [make_net(text), make_net(text)]
    for test in tests:
        test.share_from(train)
    for value in (None, 3.0):
        if value is not None:
            with torch.no_grad():
                train.params[0].blob.fill_(value)
        for test in tests:
            _check(test, "a", train.params[0].blob)
            _check(test, "b", train.params[0].blob)


def test_layers_that_two_nets_have_use_their_own_parameter_each() -> None:
    """As in Caffe: what the second net alone shares is not made equal."""
    two = make_net(INPUT + _conv("a", "data", 4, "") + _conv("b", "data", 4, ""))
    test = make_net(INPUT + _conv("a", "data", 4, W) + _conv("b", "data", 4, W) + _conv("c", "data", 4, W))
    test.share_from(two)
    for name, parameter in zip("abc", [two.params[0], two.params[1], two.params[0]], strict=True):
        _check(test, name, parameter.blob)


def test_nothing_is_shared_where_something_does_not_fit() -> None:
    other = make_net(INPUT + _conv("x", "data", 4, "") + _conv("a", "data", 5, ""))
    net = make_net(INPUT + _conv("x", "data", 4, "") + _conv("a", "data", 4, ""))
    with pytest.raises(NetError, match=r"'a' cannot share its blobs: \[\(4, 3, 1, 1\)\] here, \[\(5, 3, 1, 1\)\]"):
        net.share_from(other)
    assert net.params[0].blob is not other.params[0].blob


def test_one_parameter_name_in_layers_of_two_names_is_a_warning() -> None:
    lines: list[str] = []
    glog.set_sink(lines.append)
    try:
        make_net(INPUT + _conv("other", "data", 4, W)).share_from(make_net(TRAIN))
        make_net(TRAIN + _conv("b", "data", 4, W)).share_from(make_net(TRAIN))
    finally:
        glog.set_sink(None)
    assert len(lines) == 1
    assert "layer 'other' does not share its parameter 'w' with layer 'a' of the other net" in lines[0]


def test_statistics_that_are_shared_are_not_started_anew() -> None:
    text = INPUT + layer("BatchNorm", "data", "bn", 'param { name: "m" } param { name: "v" } param { name: "f" }')
    more = layer("BatchNorm", "data", "own", 'param { name: "m" } param { name: "v" } param { name: "f" }')
    train, test = make_net(text), make_net(text + more)
    with torch.no_grad():
        for param, value in zip(train.params, (2.0, 9.0, 1.0), strict=True):
            param.blob.fill_(value)
    test.share_from(train)
    tops = test.forward(_ones())
    assert torch.equal(tops["own"], tops["bn"])
    torch.testing.assert_close(tops["own"], torch.full((2, 3, 6, 6), -1 / 3), atol=1e-5, rtol=1e-5)
