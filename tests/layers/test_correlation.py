"""Correlation and Correlation1D, against loops over every pixel and displacement."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from caffecompat.layers import Layer, LayerError
from tests.layers.make import make_layer

CASES = {
    "FlowNet2-C": "pad: 4 kernel_size: 1 max_displacement: 4 stride_1: 1 stride_2: 2",
    "patches": "pad: 3 kernel_size: 3 max_displacement: 2",
    "strides": "pad: 4 kernel_size: 3 max_displacement: 4 stride_1: 2 stride_2: 3",
    "pixels apart": "pad: 2 kernel_size: 1 max_displacement: 3 stride_1: 3",
    "no pad": "kernel_size: 1 max_displacement: 2",
    "differences": "pad: 2 kernel_size: 3 max_displacement: 2 stride_2: 2 correlation_type: SUBTRACT",
    "strided differences": "pad: 3 kernel_size: 1 max_displacement: 2 stride_1: 2 correlation_type: SUBTRACT",
}
ALONG_ROWS = {
    "both": "pad: 4 kernel_size: 1 max_displacement: 4 stride_2: 2",
    "left": "pad: 4 kernel_size: 3 max_displacement: 4 single_direction: -1",
    "right": "pad: 3 kernel_size: 1 max_displacement: 3 stride_1: 2 single_direction: 1",
    "differences": "pad: 4 kernel_size: 1 max_displacement: 4 single_direction: -1 correlation_type: SUBTRACT",
}


def make(settings: str, shape: tuple[int, ...], kind: str = "Correlation") -> Layer:
    return make_layer(f'type: "{kind}" correlation_param {{ {settings} }}', shape, shape)


def displacements(kind: str, reach: int, step: int, direction: int) -> list[tuple[int, int]]:
    radius = reach // step
    if kind == "Correlation":
        steps = range(-radius, radius + 1)
        return [(dy * step, dx * step) for dy in steps for dx in steps]
    first = {0: -radius, -1: -radius - 1, 1: 0}[direction]
    count = radius + 1 if direction else 2 * radius + 1
    return [(0, (first + index) * step) for index in range(count)]


def by_loops(layer: Layer, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The original's loops; what lies left of the padded map is 0."""
    p, kind = layer.param.correlation_param, layer.type
    kernel, reach, stride = p.kernel_size, p.max_displacement, p.stride_1
    vertical = kind == "Correlation"
    pads = ((0, 0), (0, 0), (p.pad, p.pad) if vertical else (0, 0), (p.pad, p.pad))
    a, b = np.pad(a, pads), np.pad(b, pads)
    radius, top_y = (kernel - 1) // 2, reach if vertical else 0
    height = math.ceil((a.shape[2] - 2 * (top_y + radius)) / stride)
    width = math.ceil((a.shape[3] - 2 * (reach + radius)) / stride)
    moves = displacements(kind, reach, p.stride_2, p.single_direction)
    top = np.zeros((len(a), len(moves), height, width))
    for n, d, y, x in np.ndindex(*top.shape):
        (dy, dx), total = moves[d], 0.0
        for j in range(kernel):
            for i in range(kernel):
                y1, x1 = y * stride + top_y + j, x * stride + reach + i
                other = b[n, :, y1 + dy, x1 + dx] if x1 + dx >= 0 else np.zeros(b.shape[1])
                if p.correlation_type == p.SUBTRACT:
                    total += np.abs(a[n, :, y1, x1] - other).sum()
                else:
                    total += (a[n, :, y1, x1] * other).sum()
        top[n, d, y, x] = total / (kernel * kernel * a.shape[1])
    return top


def pair(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    a, b = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return a, b


@pytest.mark.parametrize("name", CASES)
def test_values(name: str) -> None:
    a, b = pair((2, 5, 7, 9))
    layer = make(CASES[name], (2, 5, 7, 9))
    top = layer(a, b)
    np.testing.assert_allclose(top.numpy(), by_loops(layer, a.numpy(), b.numpy()), atol=1e-12)
    assert layer(a.to("meta"), b.to("meta")).shape == top.shape


@pytest.mark.parametrize("name", ALONG_ROWS)
def test_values_along_rows(name: str) -> None:
    a, b = pair((2, 5, 4, 11))
    layer = make(ALONG_ROWS[name], (2, 5, 4, 11), "Correlation1D")
    np.testing.assert_allclose(layer(a, b).numpy(), by_loops(layer, a.numpy(), b.numpy()), atol=1e-12)


def test_numbers_by_hand() -> None:
    """One pixel against its row: three displacements of a 1 x 3 map with two channels."""
    a = torch.tensor([[[[1.0, 2, 3]], [[0.0, 1, 0]]]])
    b = torch.tensor([[[[4.0, 5, 6]], [[1.0, 1, 1]]]])
    top = make("pad: 1 kernel_size: 1 max_displacement: 1", (1, 2, 1, 3), "Correlation1D")(a, b)
    assert top[0, :, 0, 1].tolist() == [(2 * 4 + 1) / 2, (2 * 5 + 1) / 2, (2 * 6 + 1) / 2]
    assert top[0, :, 0, 0].tolist() == [0, 2, 2.5]


@pytest.mark.parametrize("name", ["FlowNet2-C", "patches", "strides"])
def test_gradient(name: str) -> None:
    a, b = pair((1, 2, 5, 6))
    layer = make(CASES[name], (1, 2, 5, 6))
    assert torch.autograd.gradcheck(layer, (a.requires_grad_(), b.requires_grad_()))


def test_gradient_along_rows() -> None:
    a, b = pair((1, 2, 3, 9))
    layer = make(ALONG_ROWS["left"], (1, 2, 3, 9), "Correlation1D")
    assert torch.autograd.gradcheck(layer, (a.requires_grad_(), b.requires_grad_()))


@pytest.mark.parametrize("name", ["differences", "strided differences"])
def test_gradient_of_differences_is_the_originals(name: str) -> None:
    """Both maps are compared at the other one's pixel, not each at its own."""
    a, b = pair((1, 2, 5, 6))
    layer = make(CASES[name], (1, 2, 5, 6))
    p = layer.param.correlation_param
    top = layer(a.requires_grad_(), b.requires_grad_())
    grad = torch.randn(top.shape, dtype=torch.float64)
    top.backward(grad)
    padded = [np.pad(x.detach().numpy(), ((0, 0), (0, 0), (p.pad, p.pad), (p.pad, p.pad))) for x in (a, b)]
    sign = np.where(padded[0] >= padded[1], 1.0, -1.0)
    diffs = [np.zeros_like(x) for x in padded]
    moves = displacements("Correlation", p.max_displacement, p.stride_2, 0)
    for _, d, y, x in np.ndindex(*top.shape):
        dy, dx = moves[d]
        for j in range(p.kernel_size):
            for i in range(p.kernel_size):
                row, column = y * p.stride_1 + p.max_displacement + j, x * p.stride_1 + p.max_displacement + i
                share = float(grad[0, d, y, x]) / (p.kernel_size**2 * 2)
                diffs[0][0, :, row, column] += share * sign[0, :, row + dy, column + dx]
                diffs[1][0, :, row + dy, column + dx] -= share * sign[0, :, row, column]
    inner = slice(p.pad, -p.pad)
    for blob, diff in zip((a, b), diffs, strict=True):
        np.testing.assert_allclose(blob.grad.numpy(), diff[:, :, inner, inner], atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "shapes", "message"),
    [
        ("max_displacement: 1", ((1, 2, 5, 5),) * 2, "needs kernel_size and max_displacement"),
        ("kernel_size: 2 max_displacement: 1", ((1, 2, 5, 5),) * 2, "kernel_size 2 must be odd"),
        ("kernel_size: 1 max_displacement: 3", ((1, 2, 5, 9),) * 2, "height is 5; .* need at least 7"),
        ("kernel_size: 1 max_displacement: 1", ((1, 2, 5, 5), (1, 3, 5, 5)), "both must be one"),
        ("kernel_size: 1 max_displacement: 1 stride_2: 0", ((1, 2, 5, 5),) * 2, "at least 1"),
        ("kernel_size: 1 max_displacement: 1 single_direction: 2", ((1, 2, 5, 5),) * 2, "single_direction 2"),
    ],
)
def test_settings_that_cannot_be(settings: str, shapes: tuple[tuple[int, ...], ...], message: str) -> None:
    with pytest.raises(LayerError, match=message):
        make_layer(f'type: "Correlation" correlation_param {{ {settings} }}', *shapes)
