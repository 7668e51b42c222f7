"""Outputs of two nets against each other."""

from __future__ import annotations

import pytest
import torch

from caffecompat.compare.nets import compare_outputs
from tests.net.nets import INPUT, layer, make_net


@pytest.mark.parametrize("kind", ["ArgMax", "Threshold"])
def test_choices_are_compared_by_the_share_that_differs(kind: str) -> None:
    """One index more or less is no small difference, and no great one: it is another choice."""
    net = make_net(INPUT + layer(kind, "data", "y"))
    made = net.forward({"data": torch.randn(net.fed_shapes["data"])})["y"]
    other = made.clone()
    other.view(-1)[0] += 1
    (difference,) = compare_outputs(net, {"y": made}, {"y": other})
    assert difference.relative == pytest.approx(1 / made.numel())
    assert "of the values differ" in difference.line()
