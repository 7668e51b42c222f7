"""DropPath: whole items, divided by what stays; its gradient; nothing in TEST."""

from __future__ import annotations

import pytest
import torch

from caffecompat.layers import LayerError
from caffecompat.schema import pb
from tests.layers.make import make_layer


def text(probability: float) -> str:
    return f'type: "DropPath" drop_path_param {{ drop_prob: {probability} }}'


@pytest.mark.parametrize("shape", [(4000,), (4000, 3), (4000, 2, 2, 2)])
@pytest.mark.parametrize("probability", [0.25, 0.6])
def test_items_are_dropped_whole(shape: tuple[int, ...], probability: float) -> None:
    torch.manual_seed(1)
    bottom = torch.rand(shape).add(1).requires_grad_()
    top = make_layer(text(probability), shape)(bottom)
    factors = (top / bottom).reshape(shape[0], -1)
    torch.testing.assert_close(factors, factors[:, :1].expand_as(factors))
    kept = factors[:, 0] > 0
    torch.testing.assert_close(factors[kept, 0], torch.full((int(kept.sum()),), 1 / (1 - probability)))
    # 4000 draws: five standard deviations
    assert abs(kept.float().mean().item() - (1 - probability)) < 5 * (probability * (1 - probability) / 4000) ** 0.5
    top.sum().backward()
    torch.testing.assert_close(bottom.grad.reshape(shape[0], -1), factors)


@pytest.mark.parametrize(("probability", "phase"), [(0.5, pb.TEST), (0, pb.TRAIN)])
def test_where_nothing_is_dropped_the_bottom_passes(probability: float, phase: int) -> None:
    bottom = torch.randn(5, 2)
    state = torch.get_rng_state()
    assert make_layer(text(probability), (5, 2), phase=phase)(bottom) is bottom
    assert torch.equal(state, torch.get_rng_state())


def test_draws_are_those_of_the_seed() -> None:
    layer, bottom = make_layer(text(0.5), (64, 2)), torch.ones(64, 2)
    torch.manual_seed(7)
    first, second = layer(bottom), layer(bottom)
    torch.manual_seed(7)
    assert torch.equal(layer(bottom), first) and not torch.equal(first, second)


@pytest.mark.parametrize("probability", [-0.1, 1, 1.5])
def test_probabilities_are_checked(probability: float) -> None:
    with pytest.raises(LayerError, match=f"drop_prob {probability:g} must be at least 0 and below 1"):
        make_layer(text(probability), (2, 3))


def test_a_single_value_has_no_items() -> None:
    with pytest.raises(LayerError, match="first axis"):
        make_layer(text(0.5), ())


@pytest.mark.parametrize("block", ["", "drop_path_param { }"])
def test_a_probability_is_needed(block: str) -> None:
    with pytest.raises(LayerError, match="drop_path_param needs drop_prob"):
        make_layer(f'type: "DropPath" {block}', (2, 3))
