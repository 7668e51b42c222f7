"""Parameter order, multipliers, and sharing by name."""

import pytest
import torch

from caffecompat.net import NetError
from caffecompat.schema import pb
from tests.net.nets import INPUT, conv, layer, make_net

SHARED = 'param { name: "w" } param { name: "b" }'


def listed(text: str) -> list[tuple[str, int, float, float]]:
    return [(p.layer, p.index, p.lr_mult, p.decay_mult) for p in make_net(text).params]


def test_order_and_multipliers() -> None:
    text = INPUT + conv("a", "data", more="param { lr_mult: 1 } param { lr_mult: 2 decay_mult: 0 }") + conv("b", "a")
    assert listed(text) == [("a", 0, 1, 1), ("a", 1, 2, 0), ("b", 0, 1, 1), ("b", 1, 1, 1)]


def test_statistics_are_listed_and_never_learned() -> None:
    net = make_net(INPUT + layer("BatchNorm", "data", "bn"), pb.TRAIN)
    assert [(p.index, p.lr_mult) for p in net.params] == [(0, 0), (1, 0), (2, 0)]
    assert not any(p.blob.requires_grad for p in net.params)


def test_lr_mult_0_asks_for_no_gradient_unless_forced() -> None:
    frozen = INPUT + conv("a", "data", more="param { lr_mult: 0 }")
    assert [p.blob.requires_grad for p in make_net(frozen).params] == [False, True]
    assert [p.blob.requires_grad for p in make_net("force_backward: true\n" + frozen).params] == [True, True]


def test_shared_parameters_sum_their_gradients() -> None:
    text = (
        INPUT
        + conv("a", "data", more=SHARED)
        + conv("b", "data", more=SHARED)
        + 'layer { name: "s" type: "Eltwise" bottom: "a" bottom: "b" top: "s" }'
    )
    net = make_net(text, pb.TRAIN)
    assert [(p.layer, p.index) for p in net.params] == [("a", 0), ("a", 1)]
    net.forward({"data": torch.ones(2, 3, 6, 6)})["s"].sum().backward()
    # 72 positions of ones, through two layers.
    assert torch.equal(net.params[0].blob.grad, torch.full((4, 3, 1, 1), 144.0))


def test_any_sharer_may_state_a_multiplier_once() -> None:
    text = (
        INPUT
        + conv("a", "data", more=SHARED)
        + conv("b", "data", more='param { name: "w" lr_mult: 3 } param { name: "b" }')
    )
    assert make_net(text).params[0].lr_mult == 3


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ('param { name: "w" lr_mult: 1 }', 'param { name: "w" lr_mult: 2 }', "has lr_mult 2 here but 1"),
        ('param { name: "w" decay_mult: 1 }', 'param { name: "w" decay_mult: 0 }', "has decay_mult 0 here but 1"),
    ],
)
def test_multipliers_that_disagree(first: str, second: str, said: str) -> None:
    with pytest.raises(NetError, match=said):
        make_net(INPUT + conv("a", "data", more=first) + conv("b", "data", more=second))


def test_strict_sharing_wants_equal_shapes() -> None:
    text = INPUT + conv("a", "data", more=SHARED) + conv("b", "a", outputs=3, more=SHARED)
    with pytest.raises(NetError, match=r"shape \(3, 4, 1, 1\) here but \(4, 3, 1, 1\) in layer 'a'"):
        make_net(text)


def test_permissive_sharing_views_the_owner_in_another_shape() -> None:
    permissive = 'param { name: "w" share_mode: PERMISSIVE }'
    text = INPUT + conv("a", "data", more='param { name: "w" }') + conv("b", "a", outputs=3, more=permissive)
    net = make_net(text, pb.TRAIN)
    weight = net.layers[2].slots[0].tensor()
    assert weight.shape == (3, 4, 1, 1)
    assert weight.data_ptr() == net.params[0].blob.data_ptr()
    net.forward({"data": torch.ones(2, 3, 6, 6)})["b"].sum().backward()
    assert net.params[0].blob.grad is not None
    assert len(net.blobs_by_layer()["b"]) == 2


def test_too_many_param_blocks() -> None:
    with pytest.raises(NetError, match=r"3 param \{ \} blocks but only 2 parameter blobs"):
        make_net(INPUT + conv("a", "data", more="param { } param { } param { }"))
