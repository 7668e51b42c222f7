"""Reduction and ArgMax against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caffecompat.layers import LayerError
from tests.layers.make import make_layer


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


@pytest.mark.parametrize(
    ("text", "shapes", "words"),
    [
        ('type: "ArgMax" argmax_param { axis: 1 top_k: 4 }', [(2, 3)], "top_k 4 must be 1 to 3"),
        ('type: "Reduction" reduction_param { axis: -3 }', [(2, 3)], "axis -3"),
    ],
)
def test_refusals(text: str, shapes: list[tuple[int, ...]], words: str) -> None:
    with pytest.raises(LayerError, match=words):
        make_layer(text, *shapes)
