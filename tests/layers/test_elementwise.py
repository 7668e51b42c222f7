"""Eltwise, Softmax, ArgMax, Reduction and Axpy: ties, layouts, gradients and refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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


@settings(max_examples=25, deadline=None)
@given(
    data=st.data(),
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    seed=st.integers(0, 1000),
    values=st.booleans(),
)
def test_argmax_is_a_sort_of_pairs(data: st.DataObject, shape: list[int], seed: int, values: bool) -> None:
    x = np.random.default_rng(seed).integers(0, 3, shape).astype(np.float32)
    axis = data.draw(st.one_of(st.none(), st.integers(-len(shape), len(shape) - 1)))
    size = int(np.prod(shape[1:])) if axis is None else shape[axis]
    k = data.draw(st.integers(1, size))
    text = f'type: "ArgMax" argmax_param {{ top_k: {k} out_max_val: {str(values).lower()} '
    top = make_layer(text + (f"axis: {axis} }}" if axis is not None else "}"), shape)(torch.from_numpy(x)).numpy()

    rows = x.reshape(shape[0], -1) if axis is None else np.moveaxis(x, axis, -1).reshape(-1, size)
    pairs = [sorted(zip(row, range(size), strict=True), reverse=True)[:k] for row in rows]
    best, index = (np.array([[pair[i] for pair in row] for row in pairs], np.float32) for i in (0, 1))
    if axis is None:
        expected = np.stack([index, best], 1) if values else index[:, None]
        expected = expected.reshape(expected.shape + (1,) * (len(shape) - 3))
    else:
        chosen = best if values else index
        outer = list(np.moveaxis(x, axis, -1).shape[:-1])
        expected = np.moveaxis(chosen.reshape([*outer, k]), -1, axis)
    np.testing.assert_array_equal(top, expected)


@settings(max_examples=12, deadline=None)
@given(operation=st.sampled_from(["SUM", "ASUM", "SUMSQ", "MEAN"]), axis=st.integers(-3, 2), seed=st.integers(0, 99))
def test_reduction(operation: str, axis: int, seed: int) -> None:
    torch.manual_seed(seed)
    x = torch.randn(2, 3, 4, dtype=torch.double).requires_grad_()
    layer = make_layer(
        f'type: "Reduction" reduction_param {{ operation: {operation} axis: {axis} coeff: 2.5 }}', x.shape
    )
    rows = x.detach().numpy().reshape(*x.shape[: axis % 3], -1)
    function = {"SUM": np.sum, "MEAN": np.mean, "ASUM": lambda v, a: abs(v).sum(a), "SUMSQ": lambda v, a: (v**2).sum(a)}
    np.testing.assert_allclose(layer(x).detach().numpy(), 2.5 * function[operation](rows, -1), rtol=1e-6)
    assert torch.autograd.gradcheck(layer, x)


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
        ('type: "Eltwise"', [(2,)], "at least 2 bottom"),
        ('type: "ArgMax" argmax_param { axis: 1 top_k: 4 }', [(2, 3)], "top_k 4 must be 1 to 3"),
        ('type: "Softmax" softmax_param { axis: 2 }', [(2, 3)], "axis 2"),
        ('type: "Reduction" reduction_param { axis: -3 }', [(2, 3)], "axis -3"),
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
