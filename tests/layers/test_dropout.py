"""Dropout: what is dropped, how the rest is scaled, and the seed."""

from __future__ import annotations

import pytest
import torch

from caffecompat.layers import LayerError
from caffecompat.schema import pb
from tests.layers.make import make_layer


@pytest.mark.parametrize(
    ("phase", "always", "drops"), [("TRAIN", "", True), ("TEST", "", False), ("TEST", "true", True)]
)
def test_dropout_scales_what_it_keeps(phase: str, always: str, drops: bool) -> None:
    text = 'type: "Dropout" dropout_param { dropout_ratio: 0.3 %s }' % (always and "sample_weights_test: true")
    layer = make_layer(text, (100, 100), phase=getattr(pb, phase))
    torch.manual_seed(1)
    top = layer(torch.ones(100, 100))
    kept = 1 / 0.7 if drops else 1.0
    torch.testing.assert_close(top[top != 0], torch.full_like(top[top != 0], kept))
    assert (top == 0).float().mean().item() == pytest.approx(0.3 if drops else 0, abs=0.02)


def test_dropout_of_r_cnn_scales_in_test() -> None:
    text = 'type: "Dropout" dropout_param { dropout_ratio: 0.3 scale_train: false }'
    torch.manual_seed(1)
    bottom = torch.ones(100, 100, requires_grad=True)
    top = make_layer(text, (100, 100), phase=pb.TRAIN)(bottom)
    assert (top == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)
    torch.testing.assert_close(top[top != 0], torch.ones_like(top[top != 0]))
    top.sum().backward()
    torch.testing.assert_close(bottom.grad, top.detach())
    torch.testing.assert_close(make_layer(text, (2, 3), phase=pb.TEST)(torch.ones(2, 3)), torch.full((2, 3), 0.7))


def test_dropout_follows_the_seed() -> None:
    layer = make_layer('type: "Dropout"', (50,))
    torch.manual_seed(3)
    first = layer(torch.ones(50))
    assert not torch.equal(first, layer(torch.ones(50)))
    torch.manual_seed(3)
    assert torch.equal(first, layer(torch.ones(50)))


def test_a_ratio_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(LayerError, match="dropout_ratio 1"):
        make_layer('type: "Dropout" dropout_param { dropout_ratio: 1 }', (2,))
