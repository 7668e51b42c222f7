"""FocalLoss against the paper's formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from caffecompat.layers import LayerError
from tests.layers.make import make_layer
from tests.layers.properties import check_gradient


@pytest.mark.parametrize(("gamma", "alpha"), [(2, 0.25), (0, 1), (1.5, 0.75)])
@pytest.mark.parametrize("plane", [(), (2, 3)])
def test_values_and_gradient(gamma: float, alpha: float, plane: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    scores, labels = rng.normal(0, 2, (4, 5, *plane)), rng.integers(0, 5, (4, *plane)).astype(float)
    labels.reshape(-1)[2] = 9
    text = (
        f'type: "FocalLoss" loss_param {{ ignore_label: 9 normalize: true }} '
        f"focal_loss_param {{ gamma: {gamma} alpha: {alpha} }}"
    )
    layer = make_layer(text, scores.shape, labels.shape)
    probability = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    total, count = 0.0, 0
    for place in np.ndindex(labels.shape):
        if labels[place] != 9:
            p = probability[(place[0], int(labels[place]), *place[1:])]
            total -= alpha * (1 - p) ** gamma * np.log(p)
            count += 1
    bottoms = [torch.from_numpy(scores), torch.from_numpy(labels)]
    assert layer(*bottoms).item() == pytest.approx(total / count)
    check_gradient(layer.double(), bottoms)


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2])
@pytest.mark.parametrize("smoothing", [0, 0.1])
def test_the_gradient_is_finite_whatever_gamma_is(gamma: float, smoothing: float) -> None:
    """(1 - p)^gamma has an infinite slope at p = 1 where gamma is below 1, but the loss has none."""
    fields = f"focal_loss_param {{ gamma: {gamma} alpha: 0.5 }} loss_param {{ normalization: NONE"
    scores = torch.tensor([[200.0, 0.0], [-200.0, 0.0]])
    hard, shares = torch.zeros(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    for kind, labels in (("FocalLoss", hard), ("FocalLoss", shares), ("SigmoidFocalLoss", shares)):
        smoothed = f"label_smoothing: {smoothing}" * (kind == "FocalLoss")
        layer = make_layer(f'type: "{kind}" {fields} {smoothed} }}', (2, 2), tuple(labels.shape))
        given = scores.clone().requires_grad_()
        layer(given, labels).backward()
        assert given.grad is not None and given.grad.isfinite().all()
        if not (smoothing and kind == "FocalLoss"):
            assert given.grad[0, 0] == 0
            assert given.grad[1, 0] == -0.5


def test_sure_scores_have_a_gradient() -> None:
    """At 1 the loss is flat; near 0, where the logarithm is limited, the gradient is still that of -log p."""
    scores = torch.tensor([[200.0, 0.0], [-200.0, 0.0]], requires_grad=True)
    layer = make_layer(
        'type: "FocalLoss" focal_loss_param { alpha: 1 } loss_param { normalization: NONE }', (2, 2), (2,)
    )
    layer(scores, torch.zeros(2)).backward()
    assert scores.grad is not None
    assert scores.grad.tolist() == [[0, 0], [-1, 1]]


@pytest.mark.parametrize("text", ["type: LINEAR", "beta: 2"])
def test_the_linear_form_is_refused(text: str) -> None:
    with pytest.raises(LayerError, match="LINEAR"):
        make_layer(f'type: "FocalLoss" focal_loss_param {{ {text} }}', (2, 3), (2,))


@pytest.mark.parametrize(("gamma", "alpha"), [(2, 0.25), (0, 0.5), (1.5, 0.75)])
@pytest.mark.parametrize(("mode", "divisor"), [("", 3), ("VALID", 11), ("FULL", 12), ("NONE", 1)])
def test_the_sigmoid_form(gamma: float, alpha: float, mode: str, divisor: int) -> None:
    rng = np.random.default_rng(2)
    scores, targets = rng.normal(0, 2, (3, 4)), rng.integers(0, 2, (3, 4)).astype(float)
    targets[1, 2] = -1
    normalization = f"normalization: {mode}" if mode else ""
    text = (
        f'type: "SigmoidFocalLoss" loss_param {{ ignore_label: -1 label_weights: [2, 3] {normalization} }} '
        f"focal_loss_param {{ gamma: {gamma} alpha: {alpha} }}"
    )
    total = 0.0
    for x, t in zip(scores.flat, targets.flat, strict=True):
        if t >= 0:
            q = 1 / (1 + np.exp(-x if t else x))
            total -= (alpha * 3 if t else (1 - alpha) * 2) * (1 - q) ** gamma * np.log(q)
    layer = make_layer(text, scores.shape, targets.shape)
    bottoms = [torch.from_numpy(scores), torch.from_numpy(targets)]
    assert layer(*bottoms).item() == pytest.approx(total / divisor)
    check_gradient(layer.double(), bottoms)


def test_the_sigmoid_form_without_focus_is_the_cross_entropy_also_of_shares() -> None:
    scores, targets = torch.tensor([[-40.0, 0.3, 40.0]]), torch.tensor([[1.0, 0.25, 0.0]])
    layer = make_layer('type: "SigmoidFocalLoss" focal_loss_param { gamma: 0 alpha: 0.5 }', (1, 3), (1, 3))
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(scores, targets, reduction="sum") / 2
    torch.testing.assert_close(layer(scores, targets), wanted)


@pytest.mark.parametrize(
    ("fields", "shape", "words"),
    [
        ("focal_loss_param { gamma: -1 }", (2, 3), "gamma -1"),
        ("focal_loss_param { gamma: inf }", (2, 3), "gamma inf must be a number of at least 0"),
        ("focal_loss_param { alpha: nan }", (2, 3), "alpha nan must be a number"),
        ("loss_param { label_weights: [1, inf] }", (2, 3), "class weights must be numbers, found 1, inf"),
        ("loss_param { label_weights: [1, 2, 3] }", (2, 3), "3 class weights; it takes two"),
        ("", (2, 4), "differ in count"),
    ],
)
def test_what_the_sigmoid_form_refuses(fields: str, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(LayerError, match=words):
        make_layer(f'type: "SigmoidFocalLoss" {fields}', (2, 3), shape)
