"""Losses over distances: values, gradients and refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caffecompat.forks import Fork
from caffecompat.layers import LayerError
from tests.layers.make import make_layer


def huber(d: np.ndarray, sigma: float = 1.0) -> np.ndarray:
    return np.where(abs(d) < 1 / sigma**2, d**2 * sigma**2 / 2, abs(d) - 0.5 / sigma**2)


@settings(max_examples=10, deadline=None)
@given(
    type_name=st.sampled_from(["EuclideanLoss", "L1Loss", "SmoothL1Loss"]),
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    seed=st.integers(0, 99),
)
def test_distances(type_name: str, shape: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(0, 2, shape), rng.normal(0, 2, shape)
    layer = make_layer(f'type: "{type_name}"', shape, [shape[0], int(np.prod(shape[1:]))])
    bottoms = torch.from_numpy(a).requires_grad_(), torch.from_numpy(b).reshape(shape[0], -1).requires_grad_()
    losses = {"EuclideanLoss": (a - b) ** 2 / 2, "L1Loss": abs(a - b), "SmoothL1Loss": huber(a - b)}[type_name]
    assert layer(*bottoms).item() == pytest.approx(losses.sum() / shape[0])
    assert torch.autograd.gradcheck(layer, bottoms)
    assert layer.needs_gradient(0) and layer.needs_gradient(1) and not layer.needs_gradient(2)


def test_smooth_l1_weights() -> None:
    a, b, inner, outer = (torch.from_numpy(np.random.default_rng(i).normal(0, 2, (2, 5))) for i in range(4))
    ssd = make_layer('type: "SmoothL1Loss"', *[(2, 5)] * 3, fork=Fork.SSD)
    assert ssd(a, b, inner).item() == pytest.approx(huber((inner * (a - b)).numpy()).sum() / 2)
    xilinx = make_layer('type: "SmoothL1Loss" smooth_l1_loss_param { sigma: 3 }', *[(2, 5)] * 4, fork=Fork.XILINX)
    expected = (outer.numpy() * huber((inner * (a - b)).numpy(), 3)).sum() / 2
    assert xilinx(a, b, inner, outer).item() == pytest.approx(expected)


@pytest.mark.parametrize("legacy", [False, True])
def test_contrastive_loss(legacy: bool) -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(0, 1, (8, 3)), rng.normal(0, 1, (8, 3))
    similar = np.array([1, 0] * 4)
    layer = make_layer(
        f'type: "ContrastiveLoss" contrastive_loss_param {{ margin: 2.5 legacy_version: {str(legacy).lower()} }}',
        *[(8, 3), (8, 3), (8, 1, 1, 1)],
    )
    square = ((a - b) ** 2).sum(1)
    apart = np.maximum(2.5 - square, 0) if legacy else np.maximum(2.5 - np.sqrt(square), 0) ** 2
    pairs = torch.from_numpy(similar).double().reshape(8, 1, 1, 1)
    bottoms = torch.from_numpy(a).requires_grad_(), torch.from_numpy(b).requires_grad_()
    assert layer(*bottoms, pairs).item() == pytest.approx(np.where(similar, square, apart).sum() / 16)
    # Caffe's gradient of the newer form is off by 1e-4 in the distance.
    assert torch.autograd.gradcheck(lambda a, b: layer(a, b, pairs), bottoms, atol=1e-5 if legacy else 1e-3)


def test_contrastive_loss_of_equal_features_has_a_finite_gradient() -> None:
    a = torch.zeros(1, 2).requires_grad_()
    make_layer('type: "ContrastiveLoss"', (1, 2), (1, 2), (1,))(a, torch.zeros(1, 2), torch.zeros(1)).backward()
    assert a.grad.tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("text", "shapes", "words"),
    [
        ('type: "EuclideanLoss"', [(2, 3), (2, 4)], r"'b0' of shape \(2, 3\) and 'b1' of shape \(2, 4\) differ"),
        ('type: "EuclideanLoss"', [(2, 3), (3, 2)], "batch items"),
        ('type: "SmoothL1Loss"', [(2, 3)] * 5, "2 to 4 bottom"),
        ('type: "SmoothL1Loss" smooth_l1_loss_param { sigma: 0 }', [(2, 3)] * 2, "sigma 0"),
        ('type: "ContrastiveLoss"', [(2, 3), (2, 3), (3,)], "2 pairs"),
        ('type: "ContrastiveLoss"', [(2, 3), (2, 4), (2,)], "as many values"),
    ],
)
def test_refusals(text: str, shapes: list[tuple[int, ...]], words: str) -> None:
    with pytest.raises(LayerError, match=words):
        make_layer(text, *shapes)


def test_flownet2s_l1_loss_is_refused_by_its_settings() -> None:
    with pytest.raises(LayerError, match="l1_loss_param is of FlowNet2's L1Loss"):
        make_layer('type: "L1Loss" l1_loss_param { l2_per_location: true }', (2, 3), (2, 3))
