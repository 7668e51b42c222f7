"""Softmax: axes, layouts, huge scores."""

from __future__ import annotations

import pytest
import torch

from caffecompat.layers import LayerError
from tests.layers.make import make_layer


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1])
def test_softmax_along_any_axis_in_both_memory_formats(axis: int) -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.double)
    layer = make_layer(f'type: "Softmax" softmax_param {{ axis: {axis} }}', x.shape)
    expected = (x - x.logsumexp(axis, keepdim=True)).exp()
    last = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer(last), expected)
    if axis == 1:
        assert layer(last).is_contiguous(memory_format=torch.channels_last)
    assert torch.autograd.gradcheck(layer, last.requires_grad_())


def test_softmax_of_huge_scores() -> None:
    assert make_layer('type: "Softmax"', (1, 2))(torch.tensor([[1e4, -1e4]])).tolist() == [[1, 0]]


def test_an_axis_that_is_not_there() -> None:
    with pytest.raises(LayerError, match="axis 2"):
        make_layer('type: "Softmax" softmax_param { axis: 2 }', (2, 3))
