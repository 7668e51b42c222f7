"""ChannelNorm and FlowWarp, against loops over every pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from caffecompat.layers import LayerError
from tests.layers.make import make_layer


def warp_by_loops(image: np.ndarray, flow: np.ndarray, fill: float) -> np.ndarray:
    top = np.full_like(image, fill)
    height, width = image.shape[2:]
    for n, y, x in np.ndindex(len(image), height, width):
        x2, y2 = x + flow[n, 0, y, x], y + flow[n, 1, y, x]
        if not (x2 >= 0 and y2 >= 0 and x2 < width and y2 < height):
            continue
        left, upper = int(x2), int(y2)
        right, lower = min(left + 1, width - 1), min(upper + 1, height - 1)
        a, b = x2 - left, y2 - upper
        top[n, :, y, x] = (
            (1 - a) * (1 - b) * image[n, :, upper, left]
            + a * (1 - b) * image[n, :, upper, right]
            + (1 - a) * b * image[n, :, lower, left]
            + a * b * image[n, :, lower, right]
        )
    return top


@pytest.mark.parametrize(
    ("word", "fill"), [("", 0.0), ("fill_value: ZERO", 0.0), ("fill_value: NOT_A_NUMBER", math.nan)]
)
def test_warp(word: str, fill: float) -> None:
    rng = np.random.default_rng(1)
    image, flow = rng.standard_normal((2, 3, 6, 7)), rng.normal(0, 3, (2, 2, 6, 7))
    flow[0, :, 0, 0] = np.nan, 0
    flow[0, :, 5, 6] = 0.6, 0.7  # past the last pixel's center
    flow[0, :, 2, 3] = -3, -2  # the very first pixel
    flow[0, :, 3, 3] = 4, 0  # a whole pixel past the last one
    flow[1, :, 3, 3] = -3.01, 0
    layer = make_layer(f'type: "FlowWarp" flow_warp_param {{ {word} }}', image.shape, flow.shape)
    top = layer(torch.from_numpy(image), torch.from_numpy(flow)).numpy()
    wanted = warp_by_loops(image, flow, fill)
    assert 0.2 < np.isclose(wanted, 0).mean() < 0.8 or math.isnan(fill)
    np.testing.assert_allclose(top, wanted, atol=1e-12)


def test_gradients_of_a_warp() -> None:
    generator = torch.Generator().manual_seed(1)
    image = torch.randn((2, 3, 4, 5), generator=generator, dtype=torch.float64, requires_grad=True)
    # No place within 1/10 of a pixel's center, where the derivative jumps.
    steps = torch.randint(-3, 4, (2, 2, 4, 5), generator=generator).double()
    share = 0.1 + 0.8 * torch.rand((2, 2, 4, 5), generator=generator, dtype=torch.float64)
    flow = (steps + share).requires_grad_()
    layer = make_layer('type: "FlowWarp"', image.shape, flow.shape)
    assert torch.autograd.gradcheck(layer, (image, flow))


def test_a_place_that_is_nowhere_has_no_gradient() -> None:
    image = torch.ones(1, 1, 2, 2, requires_grad=True)
    flow = torch.tensor([[[[math.nan, 9.0], [0.0, -0.5]], [[0.0, 0.0], [0.0, 0.0]]]], requires_grad=True)
    layer = make_layer('type: "FlowWarp" flow_warp_param { fill_value: NOT_A_NUMBER }', image.shape, flow.shape)
    top = layer(image, flow)
    torch.where(top.isnan(), 0.0, top).sum().backward()
    assert image.grad.tolist() == [[[[0, 0], [1.5, 0.5]]]]
    assert torch.isfinite(flow.grad).all()


@pytest.mark.parametrize("flow", [(1, 3, 4, 4), (1, 2, 4, 5), (2, 2, 4, 4)])
def test_a_flow_that_does_not_fit(flow: tuple[int, ...]) -> None:
    with pytest.raises(LayerError, match="needs a flow"):
        make_layer('type: "FlowWarp"', (1, 3, 4, 4), flow)


def test_norm() -> None:
    bottom = torch.tensor([[[[3.0, 0.0]], [[4.0, 0.0]]]], requires_grad=True)
    top = make_layer('type: "ChannelNorm"', (1, 2, 1, 2))(bottom)
    assert top.tolist() == [[[[5.0, 0.0]]]]
    top.backward(torch.full_like(top, 10))
    assert torch.allclose(bottom.grad, torch.tensor([[[[6.0, 0.0]], [[8.0, 0.0]]]]))


def test_gradient_of_a_norm() -> None:
    bottom = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(make_layer('type: "ChannelNorm"', bottom.shape), (bottom,))
