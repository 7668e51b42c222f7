"""Resample, Downsample and Accum, against loops over every pixel and window."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from caffecompat.layers import LayerError
from tests.layers.make import make_layer

F32 = np.float32


def c_round(x: float) -> int:
    return int(math.copysign(math.floor(abs(x) + 0.5), x))


def triangle(x: float) -> float:
    return max(0.0, 1 - abs(x))


def cubic(x: float) -> float:
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def resample_by_loops(plane: np.ndarray, size: tuple[int, int], kind: str, antialias: bool) -> np.ndarray:
    """One plane; the factors are mixed up as in the original."""
    fy, fx = F32(plane.shape[0]) / F32(size[0]), F32(plane.shape[1]) / F32(size[1])
    wide = antialias and max(fx, fy) > 1
    curve, width = (cubic, 4) if kind == "CUBIC" else (triangle, 2)
    ax, ay = (1 / fx, 1 / fy) if wide else (1, 1)
    rx, ry = (2 if f < 1 else math.ceil(width / a) for f, a in ((fx, ax), (fy, ay)))
    top = np.zeros(size)
    for y, x in np.ndindex(size):
        x_in, y_in = F32(x) * fx + fy / F32(2) - F32(0.5), F32(y) * fy + fx / F32(2) - F32(0.5)
        column, row = c_round(x_in), c_round(y_in)
        if kind == "NEAREST":
            top[y, x] = plane[min(max(row, 0), plane.shape[0] - 1), min(max(column, 0), plane.shape[1] - 1)]
            continue
        total = weight = 0.0
        for j in range(max(row - ry, 0), min(row + ry + 1, plane.shape[0])):
            for i in range(max(column - rx, 0), min(column + rx + 1, plane.shape[1])):
                w = curve(ax * (x_in - i)) * curve(ay * (y_in - j))
                total, weight = total + w * plane[j, i], weight + w
        top[y, x] = total / weight if weight else 0
    return top


SIZES = [(16, 14), (3, 2), (9, 3), (4, 20), (8, 7), (24, 21), (5, 5)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("kind", ["LINEAR", "CUBIC", "NEAREST"])
def test_resample(kind: str, antialias: bool, size: tuple[int, int]) -> None:
    bottom = np.random.default_rng(2).standard_normal((2, 2, 8, 7))
    text = f"height: {size[0]} width: {size[1]} type: {kind} antialias: {str(antialias).lower()}"
    layer = make_layer(f'type: "Resample" resample_param {{ {text} }}', bottom.shape)
    top = layer(torch.from_numpy(bottom)).numpy()
    assert top.shape == (2, 2, *size)
    for n, c in np.ndindex(2, 2):
        np.testing.assert_allclose(top[n, c], resample_by_loops(bottom[n, c], size, kind, antialias), atol=2e-4)


def test_enlarging_by_one_factor_is_torchs_bilinear() -> None:
    bottom = torch.randn(1, 3, 6, 9)
    top = make_layer('type: "Resample" resample_param { height: 24 width: 36 }', bottom.shape)(bottom)
    torch.testing.assert_close(top, F.interpolate(bottom, (24, 36), mode="bilinear", align_corners=False))


def test_a_narrow_window_without_a_pixel_gives_0() -> None:
    """Height shrinks, so that windows across, where the map grows by 5, are 2/5 wide."""
    top = make_layer('type: "Resample" resample_param { height: 2 width: 20 }', (1, 1, 8, 4))(torch.ones(1, 1, 8, 4))
    assert set(top.round(decimals=5).flatten().tolist()) == {0.0, 1.0}


def test_the_second_bottom_gives_the_size() -> None:
    for kind in ("Resample", "Downsample"):
        layer = make_layer(f'type: "{kind}"', (1, 2, 8, 8), (1, 7, 4, 3))
        assert layer(torch.randn(1, 2, 8, 8), torch.randn(1, 7, 4, 3)).shape == (1, 2, 4, 3)
        assert not layer.needs_gradient(1)


@pytest.mark.parametrize(
    "text", ['type: "Resample"', 'type: "Downsample"', 'type: "Resample" resample_param { width: 4 }']
)
def test_no_size(text: str) -> None:
    with pytest.raises(LayerError, match="at least 1, or a second bottom"):
        make_layer(text, (1, 2, 8, 8))


def test_areas_are_refused() -> None:
    with pytest.raises(LayerError, match="AREA has no definition"):
        make_layer('type: "Resample" resample_param { width: 4 height: 4 type: AREA }', (1, 2, 8, 8))


def downsample_by_loops(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """In single precision, which decides where NaN has just half the weight."""
    scale = [F32(before - 1) / F32(after - 1) for before, after in zip(plane.shape, size, strict=True)]
    top = np.full(size, np.nan)
    for place in np.ndindex(size):
        center = [F32(place[k]) / F32(size[k] - 1) * F32(plane.shape[k] - 1) for k in (0, 1)]
        radius = [math.ceil(s) for s in scale]
        total = weight = lost = F32(0)
        for dy in range(-radius[0], radius[0] + 1):
            for dx in range(-radius[1], radius[1] + 1):
                y, x = c_round(center[0]) + dy, c_round(center[1]) + dx
                if not (0 <= y < plane.shape[0] and 0 <= x < plane.shape[1]):
                    continue
                w = triangle((y - center[0]) / scale[0]) * triangle((x - center[1]) / scale[1])
                if math.isnan(plane[y, x]):
                    lost += w
                else:
                    total, weight = total + w * plane[y, x], weight + w
        if weight and lost / weight <= 0.5:
            top[place] = total / weight
    return top


@pytest.mark.parametrize("size", [(3, 4), (5, 2), (8, 13), (9, 13)])
def test_downsample(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    bottom = rng.standard_normal((2, 2, 9, 13))
    bottom[rng.random(bottom.shape) < 0.25] = np.nan
    layer = make_layer(
        f'type: "Downsample" downsample_param {{ top_height: {size[0]} top_width: {size[1]} }}', bottom.shape
    )
    top = layer(torch.from_numpy(bottom)).numpy()
    if size == (9, 13):
        np.testing.assert_array_equal(top, bottom)
        return
    wanted = np.stack([[downsample_by_loops(plane, size) for plane in item] for item in bottom])
    assert np.isfinite(wanted).any()
    np.testing.assert_allclose(top, wanted, atol=1e-6)


def test_corners_of_a_single_row() -> None:
    with pytest.raises(LayerError, match="keeps corners"):
        make_layer('type: "Downsample" downsample_param { top_height: 1 top_width: 4 }', (1, 2, 8, 8))


def test_resized_maps_have_gradients() -> None:
    bottom = torch.randn(1, 2, 6, 7, dtype=torch.float64, requires_grad=True)
    for text in (
        'type: "Resample" resample_param { height: 3 width: 10 type: CUBIC }',
        'type: "Downsample" downsample_param { top_height: 3 top_width: 3 }',
    ):
        assert torch.autograd.gradcheck(make_layer(text, bottom.shape), (bottom,))


def test_accum_brings_all_to_the_largest() -> None:
    a, b = torch.randn(2, 3, 4, 9), torch.randn(2, 1, 6, 5)
    top = make_layer('type: "Accum"', a.shape, b.shape)(a, b)
    assert top.shape == (2, 4, 6, 9)
    rows, columns = np.linspace(0, 3, 6), np.arange(9)
    for y, row in enumerate(rows):
        low = min(int(row), 2)
        wanted = a[:, :, low, columns] * (1 - row + low) + a[:, :, low + 1, columns] * (row - low)
        torch.testing.assert_close(top[:, :3, y], wanted.float())
    torch.testing.assert_close(top[:, 3:, :, ::2], b)


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ("top_height: 8 top_width: 12", (8, 12)),
        ("top_height: 8 top_width: 9", (6, 9)),  # both must be larger
        ("size_divisible_by: 8", (8, 16)),
        ("size_divisible_by: 3", (6, 9)),
        ("have_reference: true", (6, 5)),
    ],
)
def test_size_of_accum(settings: str, size: tuple[int, int]) -> None:
    a, b = torch.randn(2, 3, 4, 9), torch.randn(2, 1, 6, 5)
    layer = make_layer(f'type: "Accum" accum_param {{ {settings} }}', a.shape, b.shape)
    assert layer(a, b).shape == (2, 3 if "reference" in settings else 4, *size)
    assert layer.needs_gradient(0) and layer.needs_gradient(1) == ("reference" not in settings)


def test_gradient_of_accum() -> None:
    a = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    b = torch.randn(1, 1, 7, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(make_layer('type: "Accum"', a.shape, b.shape), (a, b))
