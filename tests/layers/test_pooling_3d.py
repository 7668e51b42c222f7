"""Pooling3D against loops over its windows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from caffecompat.layers import LayerError
from tests.layers.make import make_layer
from tests.layers.properties import check_gradient

FIELDS = ("kernel_depth", "kernel_size", "temporal_stride", "stride", "pad")


def by_loops(x: np.ndarray, averages: bool, depth: int, size: int, step: int, stride: int, pad: int) -> np.ndarray:
    """Each window in turn: cut at the padded volume for what a mean divides by, at the volume for its values."""
    kernels, strides, pads = (depth, size, size), (step, stride, stride), (0, pad, pad)
    counts = [
        math.ceil((n + 2 * p - k) / s) + 1 for n, k, s, p in zip(x.shape[2:], kernels, strides, pads, strict=True)
    ]
    top = np.zeros((*x.shape[:2], *counts))
    for place in np.ndindex(*counts):
        starts = [at * s - p for at, s, p in zip(place, strides, pads, strict=True)]
        ends = [min(start + k, n + p) for start, k, n, p in zip(starts, kernels, x.shape[2:], pads, strict=True)]
        divisor = math.prod(end - start for start, end in zip(starts, ends, strict=True))
        window = x[
            (..., *(slice(max(start, 0), min(end, n)) for start, end, n in zip(starts, ends, x.shape[2:], strict=True)))
        ]
        axes = (2, 3, 4)
        top[(..., *place)] = window.sum(axes) / divisor if averages else window.max(axes)
    return top


@pytest.mark.parametrize("averages", [False, True])
@pytest.mark.parametrize(
    "sizes", [(1, 2, 1, 2, 0), (2, 2, 2, 2, 0), (3, 3, 1, 2, 0), (2, 3, 2, 1, 0), (2, 3, 3, 3, 1), (2, 3, 2, 2, 1)]
)
def test_values_and_gradient(averages: bool, sizes: tuple[int, ...]) -> None:
    if sizes[-1] and not averages:
        sizes = (*sizes[:-1], 0)
    fields = " ".join(f"{name}: {value}" for name, value in zip(FIELDS, sizes, strict=True))
    pool = "AVE" if averages else "MAX"
    layer = make_layer(f'type: "Pooling3D" pooling_param {{ pool: {pool} {fields} }}', (2, 3, 5, 7, 8))
    x = np.random.default_rng(3).normal(size=(2, 3, 5, 7, 8))
    bottom = torch.from_numpy(x)
    np.testing.assert_allclose(layer(bottom).numpy(), by_loops(x, averages, *sizes), rtol=1e-12)
    check_gradient(layer.double(), [bottom[:1, :1].contiguous()])


def test_every_maximum_of_a_window_gets_the_gradient() -> None:
    layer = make_layer('type: "Pooling3D" pooling_param { kernel_depth: 1 kernel_size: 2 stride: 2 }', (1, 1, 1, 2, 4))
    bottom = torch.tensor([[[[[0.0, 0, 5, 1], [0, -1, 5, 2]]]]], requires_grad=True)
    layer(bottom).backward(torch.tensor([[[[[10.0, 3]]]]]))
    assert bottom.grad is not None
    assert bottom.grad.tolist() == [[[[[10, 10, 3, 0], [10, 0, 3, 0]]]]]


@pytest.mark.parametrize(
    ("fields", "shape", "message"),
    [
        ("kernel_size: 2 kernel_depth: 1", (1, 2, 4, 4), r"takes \(N, C, L, H, W\)"),
        ("kernel_size: 2", (1, 2, 4, 4, 4), "kernel_depth or kernel_size is missing"),
        ("kernel_size: 2 kernel_depth: 1 pad: 1", (1, 2, 4, 4, 4), "only AVE pooling can have a pad"),
        ("kernel_size: 2 kernel_depth: 1 pool: STOCHASTIC", (1, 2, 4, 4, 4), "MAX or AVE"),
        ("kernel_size: 2 kernel_depth: 1 temporal_stride: 0", (1, 2, 4, 4, 4), "at least 1"),
        ("kernel_size: 2 kernel_depth: 9", (1, 2, 4, 4, 4), "no window"),
    ],
)
def test_mistakes(fields: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(LayerError, match=message):
        make_layer(f'type: "Pooling3D" pooling_param {{ {fields} }}', shape)
