"""Gradients are exchanged once an iteration, whatever of the net its passes reach."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from caffecompat.solver.exchange import Exchange
from caffecompat.solver.ranks import Ranks


class Twins(Ranks):
    """Two processes, of which the other one has the same values."""

    size = 2

    def __init__(self) -> None:
        self.sent: list[int] = []  # values of each sum

    def begin_sum(self, tensor: Tensor) -> dist.Work | None:
        self.sent.append(tensor.numel())
        tensor.mul_(2)
        return None


def test_passes_before_the_last_one_exchange_nothing() -> None:
    ranks, weights = Twins(), [nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(2))]
    exchange = Exchange(ranks, weights)
    for last in (False, False, True):
        if last:
            exchange.begin()
        (torch.ones(3) @ weights[0] * weights[1]).sum().backward()
        assert last or not ranks.sent
    assert ranks.sent == [8]  # in the last pass, before `finish`
    loss = exchange.finish(torch.tensor(4.0))
    assert ranks.sent == [8, 1] and float(loss) == 4
    assert torch.equal(weights[0].grad, torch.full((3, 2), 3.0)) and torch.equal(weights[1].grad, torch.full((2,), 9.0))


def test_what_the_loss_does_not_reach_is_zero() -> None:
    ranks, weights = Twins(), [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))]
    exchange = Exchange(ranks, weights)
    exchange.begin()
    weights[1].sum().backward()
    assert not ranks.sent
    exchange.finish(torch.tensor(1.0))
    assert [each.grad.tolist() for each in weights if each.grad is not None] == [[0, 0], [1, 1], [0, 0]]


@pytest.mark.parametrize("kept", [False, True])
def test_large_gradients_are_summed_where_they_are(kept: bool) -> None:
    ranks = Twins()
    small, large = nn.Parameter(torch.ones(5)), nn.Parameter(torch.ones(1100, 1000))
    if kept:  # as pycaffe does, whose arrays read this memory
        large.grad = torch.zeros(1100, 1000)
    before = large.grad
    exchange = Exchange(ranks, [small, large])
    exchange.begin()
    (small.sum() + 3 * large.sum()).backward()
    assert ranks.sent == [1100000, 5]  # the last layer's first
    memory = None if large.grad is None else large.grad.data_ptr()
    exchange.finish(torch.tensor(1.0))
    assert large.grad is not None and large.grad.data_ptr() == memory
    assert float(large.grad.min()) == float(large.grad.max()) == 3 and (not kept or large.grad is before)


def test_one_process_exchanges_nothing() -> None:
    weight, loss = nn.Parameter(torch.ones(2)), torch.tensor(3.0)
    exchange = Exchange(Ranks(), [weight])
    exchange.begin()
    weight.sum().backward()
    assert exchange.finish(loss) is loss
