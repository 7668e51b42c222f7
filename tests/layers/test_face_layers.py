"""CenterLoss and MarginInnerProduct, against loops over caffe-face's and SphereFace's rules."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from caffecompat.layers import LayerError
from caffecompat.net.meta import run_on_meta
from tests.layers.make import make_layer


def test_center_loss() -> None:
    rng = np.random.default_rng(1)
    x, centers = rng.normal(0, 1, (6, 2, 2, 1)), rng.normal(0, 1, (4, 4))
    labels = np.array([2, 0, 2, 2, 3, 0])
    layer = make_layer('type: "CenterLoss" center_loss_param { num_output: 4 center_filler { type: "xavier" } }',
                       x.shape, (6, 1, 1, 1)).double()  # fmt: skip
    layer.centers.data = torch.from_numpy(centers)
    features = torch.from_numpy(x).requires_grad_()
    loss = layer(features, torch.from_numpy(labels).double().reshape(6, 1, 1, 1))
    rows = x.reshape(6, 4)
    assert loss.item() == pytest.approx(
        sum(((r - centers[c]) ** 2).sum() for r, c in zip(rows, labels, strict=True)) / 12
    )
    (0.008 * loss).backward()
    assert features.grad is not None and layer.centers.grad is not None
    np.testing.assert_allclose(features.grad.numpy().reshape(6, 4), 0.008 * (rows - centers[labels]) / 6)
    for c in range(4):
        mine = rows[labels == c]
        wanted = (centers[c] - mine).sum(0) / (1 + len(mine))  # whatever the weight of the loss
        np.testing.assert_allclose(layer.centers.grad[c].numpy(), wanted, atol=1e-12)
    assert layer.needs_gradient(0) and not layer.needs_gradient(1)
    assert layer.default_loss_weight(0) == 1


PSI = {1: lambda t: math.cos(2 * t), 2: lambda t: math.cos(3 * t), 3: lambda t: math.cos(4 * t)}


def psi(kind: int, cosine: float) -> float:
    """(-1)^k cos(m t) - 2 k, for t between k pi / m and (k + 1) pi / m."""
    angle, m = math.acos(cosine), kind + 1
    k = min(int(angle * m / math.pi), m - 1)
    return (-1) ** k * PSI[kind](angle) - 2 * k


@pytest.mark.parametrize("kind", ["SINGLE", "DOUBLE", "TRIPLE", "QUADRUPLE"])
def test_margin_inner_product(kind: str) -> None:
    rng = np.random.default_rng(2)
    x, weight = rng.normal(0, 1, (12, 3, 2)), rng.normal(0, 1, (5, 6))
    labels = rng.integers(0, 5, 12)
    text = (
        f'type: "MarginInnerProduct" top: "fc" top: "lambda" margin_inner_product_param {{ num_output: 5 type: {kind} '
        "base: 20 gamma: 0.5 power: 2 lambda_min: 1.5 iteration: 3 }"
    )
    layer = make_layer(text, x.shape, (12,)).double()
    layer.weight.data = torch.from_numpy(weight)
    features = torch.from_numpy(x).requires_grad_()
    number = ["SINGLE", "DOUBLE", "TRIPLE", "QUADRUPLE"].index(kind)
    unit, rows = weight / np.linalg.norm(weight, axis=1, keepdims=True), x.reshape(12, 6)
    for forward in (4, 5, 9):  # counted from the iteration that is set; the layer counts on
        strength = max(20 * (1 + 0.5 * forward) ** -2, 1.5)
        layer.iteration = forward - 1
        run_on_meta(layer, [x.shape, (12,)])  # does not count
        scores, told = layer(features, torch.from_numpy(labels).double())
        assert told.tolist() == pytest.approx([strength])
        wanted = rows @ unit.T
        for i, label in enumerate(labels):
            if number:
                length = np.linalg.norm(rows[i])
                margin = length * psi(number, wanted[i, label] / length)
                wanted[i, label] = (strength * wanted[i, label] + margin) / (1 + strength)
        np.testing.assert_allclose(scores.detach().numpy(), wanted, atol=1e-9)
        np.testing.assert_allclose(layer.weight.detach().numpy(), unit)
    above = rng.normal(0, 1, (12, 5))
    scores.backward(torch.from_numpy(above))
    assert layer.weight.grad is not None and features.grad is not None
    np.testing.assert_allclose(layer.weight.grad.numpy(), above.T @ rows)
    wanted_x = gradient_of_features(number, rows, unit, labels, above, strength)
    np.testing.assert_allclose(features.grad.numpy().reshape(12, 6), wanted_x, atol=1e-9)


def gradient_of_features(kind: int, x: np.ndarray, unit: np.ndarray, labels: np.ndarray, above: np.ndarray,
                         strength: float) -> np.ndarray:  # fmt: skip
    """The margin's direction by finite differences of |x| psi, whose two coefficients are then brought to length 1."""
    made = np.zeros_like(x)
    for i, label in enumerate(labels):
        for c in range(len(unit)):
            if c != label or not kind:
                made[i] += above[i, c] * unit[c]
        if not kind:
            continue
        w, length = unit[label], np.linalg.norm(x[i])
        step = np.zeros_like(x)
        for k in range(x.shape[1]):
            e = np.zeros(x.shape[1])
            e[k] = 1e-6
            high, low = (np.linalg.norm(y) * psi(kind, float(y @ w / np.linalg.norm(y))) for y in (x[i] + e, x[i] - e))
            step[i, k] = (high - low) / 2e-6
        # The derivative is a w + b x: two equations for a and b.
        grid = np.array([[w @ w, w @ x[i]], [w @ x[i], length**2]])
        a, b = np.linalg.solve(grid, [step[i] @ w, step[i] @ x[i]])
        size = math.hypot(a, b)
        made[i] += above[i, label] * ((a * w + b * x[i]) / size + strength * w) / (1 + strength)
    return np.round(made, 12)


@pytest.mark.parametrize(
    ("text", "shapes", "message"),
    [
        ('type: "CenterLoss"', [(2, 3), (2,)], "needs num_output"),
        ('type: "CenterLoss" center_loss_param { num_output: 3 axis: 2 }', [(2, 3, 4), (2,)], "axis 2 must be 1"),
        ('type: "CenterLoss" center_loss_param { num_output: 3 }', [(2, 3), (2, 2)], "4 labels"),
        ('type: "MarginInnerProduct"', [(2, 3), (2,)], "needs num_output"),
        ('type: "MarginInnerProduct" margin_inner_product_param { num_output: 3 }', [(2, 3), (3,)], "3 labels"),
    ],
)
def test_refusals(text: str, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(LayerError) as problem:
        make_layer(text, *shapes)
    assert message in str(problem.value)


@pytest.mark.parametrize("kind", ["CenterLoss", "MarginInnerProduct"])
def test_labels_that_are_no_class(kind: str) -> None:
    field = "center_loss_param" if kind == "CenterLoss" else "margin_inner_product_param"
    layer = make_layer(f'name: "face" type: "{kind}" {field} {{ num_output: 3 }}', (2, 3), (2,))
    with pytest.raises(LayerError, match="label 3"):
        layer(torch.ones(2, 3), torch.tensor([0.0, 3]))
