"""Flip and Reverse: the opposite order along axes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from caffecompat.layers import LayerError
from tests.layers.make import make_layer
from tests.layers.properties import check_gradient

X = np.random.default_rng(0).normal(size=(2, 3, 4, 5))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("", X[:, :, :, ::-1]),
        ("flip_height: true", X[:, :, ::-1, ::-1]),
        ("flip_width: false flip_height: true", X[:, :, ::-1]),
        ("flip_width: false", X),
    ],
)
def test_flip(settings: str, expected: np.ndarray) -> None:
    layer = make_layer(f'type: "Flip" flip_param {{ {settings} }}', X.shape).double()
    np.testing.assert_array_equal(layer(torch.from_numpy(X)).numpy(), expected)
    check_gradient(layer, [torch.from_numpy(X)])


@pytest.mark.parametrize(("axis", "expected"), [("", X[::-1]), ("axis: 2", X[:, :, ::-1]), ("axis: -1", X[..., ::-1])])
def test_reverse(axis: str, expected: np.ndarray) -> None:
    layer = make_layer(f'type: "Reverse" reverse_param {{ {axis} }}', X.shape).double()
    np.testing.assert_array_equal(layer(torch.from_numpy(X)).numpy(), expected)
    check_gradient(layer, [torch.from_numpy(X)])


def test_mistakes() -> None:
    with pytest.raises(LayerError, match="takes 1 bottom"):
        make_layer('type: "Reverse"', (5, 2, 3), (5, 2))
    with pytest.raises(LayerError, match="is not one of the 3 axes"):
        make_layer('type: "Reverse" reverse_param { axis: 3 }', (5, 2, 3))
    with pytest.raises(LayerError, match=r"Flip takes \(N, C, H, W\)"):
        make_layer('type: "Flip"', (5, 2, 3))
