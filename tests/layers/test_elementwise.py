"""Eltwise and Axpy: ties, gradients and refusals."""

from __future__ import annotations

import pytest
import torch

from caffecompat.layers import LayerError
from tests.layers.make import make_layer


def grads(text: str, *values: list[float]) -> list[list[float]]:
    blobs = [torch.tensor(v, dtype=torch.float32).requires_grad_() for v in values]
    layer = make_layer(text + 'bottom: "a" bottom: "b" bottom: "c"', *[b.shape for b in blobs])
    layer(*blobs).sum().backward()
    return [b.grad.tolist() for b in blobs]


def test_max_gives_ties_of_the_first_two_to_the_second_and_later_ones_to_the_earlier() -> None:
    a, b, c = grads('type: "Eltwise" eltwise_param { operation: MAX }', [1, 2, 0, 1], [1, 1, 0, 0], [0, 2, 1, 1])
    assert (a, b, c) == ([0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 1, 0])


def test_product_has_a_gradient_where_a_bottom_is_zero() -> None:
    a, b, c = grads('type: "Eltwise" eltwise_param { operation: PROD }', [0, 2], [3, 4], [5, 6])
    assert (a, b, c) == ([15, 24], [0, 12], [0, 8])


def test_sum_weighs_by_coeff() -> None:
    text = 'type: "Eltwise" eltwise_param { coeff: 2 coeff: -1 coeff: 0.5 }'
    a, b, c = grads(text, [1.0], [2.0], [3.0])
    assert (a, b, c) == ([2], [-1], [0.5])


def test_axpy_takes_a_factor_a_channel() -> None:
    x, y = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    for shape in ((2, 3), (2, 3, 1, 1)):
        a = torch.randn(shape)
        top = make_layer('type: "Axpy"', shape, x.shape, y.shape)(a, x, y)
        torch.testing.assert_close(top, a.reshape(2, 3, 1, 1) * x + y)


@pytest.mark.parametrize(
    ("text", "shapes", "words"),
    [
        ('type: "Eltwise" bottom: "a" bottom: "b"', [(2, 3), (2, 4)], r"'a' is \(2, 3\), 'b' is \(2, 4\)"),
        ('type: "Eltwise" eltwise_param { coeff: 1 }', [(2,), (2,)], "1 coeff for 2 bottoms"),
        ('type: "Eltwise" eltwise_param { operation: PROD coeff: 1 coeff: 1 }', [(2,), (2,)], "PROD"),
        ('type: "Eltwise"', [], "at least 1 bottom"),
        ('type: "Axpy"', [(2, 2), (2, 3, 4, 4), (2, 3, 4, 4)], "one value a channel"),
    ],
)
def test_refusals(text: str, shapes: list[tuple[int, ...]], words: str) -> None:
    with pytest.raises(LayerError, match=words):
        make_layer(text, *shapes)


def test_eltwise_never_broadcasts_a_batch_of_another_size() -> None:
    layer = make_layer('type: "Eltwise" bottom: "a" bottom: "b"', (2, 3), (2, 3))
    with pytest.raises(LayerError, match="one shape"):
        layer(torch.zeros(2, 3), torch.zeros(1, 3))


@pytest.mark.parametrize(("settings", "factor"), [("coeff: 0.5", 0.5), ("coeff: -3", -3), ("", 1)])
def test_a_sum_of_one_bottom_scales_it(settings: str, factor: float) -> None:
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    top = make_layer(f'type: "Eltwise" eltwise_param {{ {settings} }}', (2,))(x)
    top.sum().backward()
    assert top.tolist() == [factor, -2 * factor] and x.grad.tolist() == [factor, factor]


@pytest.mark.parametrize("operation", ["PROD", "MAX"])
def test_a_product_or_maximum_of_one_bottom_is_that_bottom(operation: str) -> None:
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    top = make_layer(f'type: "Eltwise" eltwise_param {{ operation: {operation} }}', (2,))(x)
    (2 * top).sum().backward()
    assert top.tolist() == [1, -2] and x.grad.tolist() == [2, 2]
