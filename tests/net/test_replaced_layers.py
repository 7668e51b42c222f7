"""Children of a net that its user replaces, removes or changes: honored alike everywhere, or refused by name."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from caffecompat.errors import CaffeCompatError
from caffecompat.net.interpreter import Interpreter
from tests.net.nets import INPUT, conv, layer, make_net

RELU = INPUT + conv("a", "data") + layer("ReLU", "a", "a", name="relu") + conv("b", "a")


def test_replaced_layers_compute() -> None:
    """As where a classifier's last layer is exchanged for one of other classes."""
    net = make_net(RELU)
    net.b = nn.Conv2d(4, 7, 1)
    for made in (net, copy.deepcopy(net)):
        assert made(torch.randn(2, 3, 6, 6))["b"].shape == (2, 7, 6, 6)
        assert made.state_dict()["b.weight"].shape == (7, 4, 1, 1)


def test_replaced_layers_are_in_no_file_of_weights(tmp_path: Path) -> None:
    """Neither the old layer's weights nor none at all: an error that names the layer."""
    net = make_net(RELU)
    net.b = nn.Conv2d(4, 7, 1)
    assert net.graph_module.b is net.b
    for ask in (
        lambda: net.save(tmp_path / "net.caffemodel"),
        lambda: net.save(tmp_path / "net.h5"),
        net.blobs_by_layer,
        lambda: net.load_weights(tmp_path / "none.caffemodel"),
        lambda: net.share_from(make_net(RELU)),
        lambda: make_net(RELU).share_from(net),
        lambda: Interpreter(net),
        lambda: copy.deepcopy(net).blobs_by_layer(),
    ):
        with pytest.raises(CaffeCompatError, match=r"layer 'b' \(Convolution\) was replaced by a Conv2d"):
            ask()
    assert not list(tmp_path.iterdir())


def _without_relu(net: Any) -> None:
    del net.relu


def _with_head(net: Any) -> None:
    net.head = nn.Linear(2, 2)


def _with_another_size(net: Any) -> None:
    net.b.weight = nn.Parameter(torch.zeros(7, 4, 1, 1))


def _without_bias(net: Any) -> None:
    net.b.bias = None


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda net: net.add_module("a", nn.Identity()), "layer 'a' .* was replaced by a Identity"),
        (lambda net: net.set_submodule("a", nn.Identity()), "layer 'a' .* was replaced by a Identity"),
        (_without_relu, "layer 'relu' .* was removed"),
        (_with_head, r"'head' \(Linear\) is no layer of the prototxt"),
        (_with_another_size, r"layer 'b': its weight is of shape \(7, 4, 1, 1\), by the prototxt it is of shape"),
        (_without_bias, "layer 'b': its bias is nothing"),
    ],
)
def test_what_a_caffemodel_cannot_hold_is_refused(change: Any, text: str) -> None:
    net = make_net(RELU)
    change(net)
    with pytest.raises(CaffeCompatError, match=text):
        net.blobs_by_layer()


def test_a_layer_of_the_same_kind_takes_the_place_of_another() -> None:
    net, other = make_net(RELU), make_net(RELU)
    net.b = other.b
    data = torch.randn(2, 3, 6, 6)
    assert np.array_equal(net.blobs_by_layer()["b"][0], other.b.weight.detach().numpy())
    assert any(param.blob is other.b.weight for param in net.params)
    net.b.weight = nn.Parameter(torch.ones_like(net.b.weight))
    assert (net.blobs_by_layer()["b"][0] == 1).all() and net(data)["b"].shape == (2, 4, 6, 6)


def test_a_relu_after_a_replaced_layer_leaves_its_bottom_alone() -> None:
    """It worked over the top of a convolution; what takes that one's place may hand on the net's input."""
    net, data = make_net(INPUT + conv("a", "data", outputs=3) + layer("ReLU", "a", "r")), torch.randn(2, 3, 6, 6)
    net.a = nn.Identity()
    given = data.clone()
    assert torch.equal(net(given)["r"], data.relu()) and torch.equal(given, data)
    with torch.no_grad():
        assert torch.equal(copy.deepcopy(net)(given)["r"], data.relu()) and torch.equal(given, data)


def test_pruned_and_parametrized_weights_are_saved_as_they_compute() -> None:
    net = make_net(RELU)
    prune.l1_unstructured(net.a, "weight", amount=0.5)
    parametrizations.weight_norm(net.b, "weight")
    net.b.parametrizations.weight.original0.data.mul_(2)
    blobs = net.blobs_by_layer()
    assert 0 < np.count_nonzero(blobs["a"][0]) <= blobs["a"][0].size // 2 + 1
    assert np.array_equal(blobs["b"][0], net.b.weight.detach().numpy())
    plain = make_net(RELU)
    with torch.no_grad():
        for made in plain.layers:
            for slot, values in zip(made.slots, blobs.get(made.name, []), strict=True):
                slot.parameter.copy_(torch.from_numpy(values))
    data = torch.randn(2, 3, 6, 6)
    assert torch.allclose(plain(data)["b"], net(data)["b"], atol=1e-6)
