"""Pooling within regions of interest, against loops over every cell and pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from caffecompat.layers import LayerError
from tests.layers.make import make_layer
from tests.layers.properties import check_gradient, distinct

F32 = np.float32


def c_round(x: float) -> int:
    return int(math.copysign(math.floor(abs(x) + 0.5), x))


def windows_of_max(roi: np.ndarray, cells: tuple[int, int], scale: float, plane: tuple[int, int]) -> list[list[int]]:
    """Rows [y0, y1, x0, x1] of a region's cells, in single precision as Caffe computes them."""
    x0, y0, x1, y1 = (c_round(F32(value) * F32(scale)) for value in roi[1:])
    size = [F32(max(e - s + 1, 1)) / F32(n) for s, e, n in ((y0, y1, cells[0]), (x0, x1, cells[1]))]
    made = []
    for row in range(cells[0]):
        for column in range(cells[1]):
            window = []
            for start, index, step, limit in ((y0, row, size[0], plane[0]), (x0, column, size[1], plane[1])):
                first = math.floor(F32(index) * step) + start
                end = math.ceil(F32(index + 1) * step) + start
                window += [min(max(first, 0), limit), min(max(end, 0), limit)]
            made.append(window)
    return made


def max_pool_by_loops(features: np.ndarray, rois: np.ndarray, cells: tuple[int, int], scale: float) -> np.ndarray:
    top = np.zeros((len(rois), features.shape[1], *cells), features.dtype)
    for r, roi in enumerate(rois):
        for cell, (y0, y1, x0, x1) in enumerate(windows_of_max(roi, cells, scale, features.shape[2:])):
            for c in range(features.shape[1]):
                part = features[int(roi[0]), c, y0:y1, x0:x1]
                top[r, c, cell // cells[1], cell % cells[1]] = part.max() if part.size else 0
    return top


def mean_pool_by_loops(features: np.ndarray, rois: np.ndarray, channels: int, side: int, scale: float) -> np.ndarray:
    height, width = features.shape[2:]
    top = np.zeros((len(rois), channels, side, side), features.dtype)
    for r, roi in enumerate(rois):
        x0, y0 = (F32(c_round(v)) * F32(scale) for v in roi[1:3])
        x1, y1 = (F32(c_round(v) + 1) * F32(scale) for v in roi[3:5])
        step_x, step_y = max(x1 - x0, F32(0.1)) / F32(side), max(y1 - y0, F32(0.1)) / F32(side)
        for c in range(channels):
            for row in range(side):
                for column in range(side):
                    top_, left = math.floor(F32(row) * step_y + y0), math.floor(F32(column) * step_x + x0)
                    bottom, right = math.ceil(F32(row + 1) * step_y + y0), math.ceil(F32(column + 1) * step_x + x0)
                    top_, bottom = (min(max(v, 0), height) for v in (top_, bottom))
                    left, right = (min(max(v, 0), width) for v in (left, right))
                    part = features[int(roi[0]), (c * side + row) * side + column, top_:bottom, left:right]
                    top[r, c, row, column] = part.mean(dtype=np.float64) if part.size else 0
    return top


def random_rois(rng: np.random.Generator, count: int, items: int, height: float, width: float) -> np.ndarray:
    """Some reach outside, some are inside out, some have corners halfway between pixels."""
    rois = np.zeros((count, 5), np.float32)
    rois[:, 0] = rng.integers(0, items, count)
    corners = rng.uniform(-0.2, 1.2, (count, 4)) * [width, height, width, height]
    low, high = np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])
    rois[:, 1:] = np.concatenate([low, high], 1)
    rois[::7, 1:] = rois[::7, [3, 4, 1, 2]]
    rois[1::5, 1:] = np.floor(rois[1::5, 1:] / 8) * 8  # times 1 / 16: halves
    return rois


@pytest.mark.parametrize(
    ("cells", "scale", "plane"),
    [((7, 7), 1 / 16, (38, 50)), ((6, 6), 1 / 16, (9, 7)), ((3, 5), 0.5, (6, 30)), ((1, 1), 1.0, (20, 13)),
     ((2, 4), 0.25, (1, 1))],
)  # fmt: skip
@pytest.mark.parametrize("channels_last", [False, True])
def test_roi_pooling(cells: tuple[int, int], scale: float, plane: tuple[int, int], channels_last: bool) -> None:
    rng = np.random.default_rng(5)
    features = rng.standard_normal((2, 3, *plane), np.float32)
    rois = random_rois(rng, 60, 2, plane[0] / scale, plane[1] / scale)
    layer = make_layer(
        f'type: "ROIPooling" roi_pooling_param {{ pooled_h: {cells[0]} pooled_w: {cells[1]} spatial_scale: {scale} }}',
        features.shape, rois.shape,
    )  # fmt: skip
    given = torch.from_numpy(features)
    given = given.contiguous(memory_format=torch.channels_last) if channels_last else given
    top = layer(given, torch.from_numpy(rois).reshape(60, 5, 1, 1))
    np.testing.assert_array_equal(top.numpy(), max_pool_by_loops(features, rois, cells, scale))
    meta = layer(given.to("meta"), torch.empty(60, 5, device="meta"))
    assert meta.shape == top.shape
    assert layer(given, torch.zeros(0, 5)).shape == (0, 3, *cells)


def test_the_gradient_goes_to_the_first_of_equal_maxima() -> None:
    features = torch.tensor([[[[1.0, 5.0, 5.0], [5.0, 0.0, 5.0]]]], requires_grad=True)
    layer = make_layer('type: "ROIPooling" roi_pooling_param { pooled_h: 1 pooled_w: 1 }', (1, 1, 2, 3), (2, 5))
    top = layer(features, torch.tensor([[0, 0, 0, 2, 1], [0, 2, 1, 2, 1]], dtype=torch.float32))
    top.backward(torch.tensor([2.0, 3.0]).reshape(2, 1, 1, 1))
    assert features.grad is not None
    assert features.grad.tolist() == [[[[0, 2, 0], [0, 0, 3]]]]
    assert layer.needs_gradient(0) and not layer.needs_gradient(1)


def test_a_value_that_is_no_number_is_never_the_maximum() -> None:
    features = torch.tensor([[[[math.nan, -3.0], [-7.0, math.nan]]]])
    layer = make_layer('type: "ROIPooling" roi_pooling_param { pooled_h: 1 pooled_w: 1 }', (1, 1, 2, 2), (1, 5))
    assert layer(features, torch.tensor([[0, 0, 0, 1, 1.0]])).item() == -3


@pytest.mark.parametrize(("channels", "side", "scale"), [(2, 7, 1 / 16), (3, 3, 0.25), (1, 1, 1.0)])
def test_psroi_pooling(channels: int, side: int, scale: float) -> None:
    rng = np.random.default_rng(6)
    features = rng.standard_normal((2, channels * side * side, 12, 9), np.float32)
    rois = random_rois(rng, 40, 2, 12 / scale, 9 / scale)
    layer = make_layer(
        f'type: "PSROIPooling" psroi_pooling_param {{ output_dim: {channels} group_size: {side} '
        f"spatial_scale: {scale} }}", features.shape, rois.shape,
    )  # fmt: skip
    top = layer(torch.from_numpy(features), torch.from_numpy(rois))
    np.testing.assert_allclose(top.numpy(), mean_pool_by_loops(features, rois, channels, side, scale), atol=1e-6)
    assert layer(torch.empty(features.shape, device="meta"), torch.empty(40, 5, device="meta")).shape == top.shape


@pytest.mark.parametrize(
    "text",
    [
        'type: "ROIPooling" roi_pooling_param { pooled_h: 2 pooled_w: 3 spatial_scale: 0.5 }',
        'type: "PSROIPooling" psroi_pooling_param { output_dim: 2 group_size: 2 spatial_scale: 0.5 }',
    ],
)
def test_gradient_is_that_of_finite_differences(text: str) -> None:
    torch.manual_seed(1)
    features: Tensor = distinct((2, 8, 6, 7))
    rois = torch.from_numpy(random_rois(np.random.default_rng(7), 9, 2, 12, 14)).double()
    check_gradient(make_layer(text, features.shape, rois.shape).double(), [features, rois])


@pytest.mark.parametrize(
    ("text", "shapes", "message"),
    [
        ('type: "ROIPooling"', [(1, 2, 4, 4), (3, 5)], "pooled_h and pooled_w"),
        ('type: "ROIPooling" roi_pooling_param { pooled_h: 2 pooled_w: 2 }', [(1, 2, 4, 4), (3, 4)], "5 values"),
        ('type: "ROIPooling" roi_pooling_param { pooled_h: 2 pooled_w: 2 }', [(1, 2), (3, 5)], "expected (batch"),
        ('type: "PSROIPooling"', [(1, 2, 4, 4), (3, 5)], "output_dim and group_size"),
        (
            'type: "PSROIPooling" psroi_pooling_param { output_dim: 2 group_size: 3 spatial_scale: 1 }',
            [(1, 2, 4, 4), (3, 5)],
            "needs 18",
        ),
    ],
)
def test_refusals(text: str, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(LayerError) as problem:
        make_layer(text, *shapes)
    assert message in str(problem.value)


def test_a_region_of_a_batch_item_that_there_is_not() -> None:
    text = 'name: "pool5" type: "ROIPooling" roi_pooling_param { pooled_h: 2 pooled_w: 2 }'
    layer = make_layer(text, (2, 2, 4, 4), (3, 5))
    with pytest.raises(LayerError, match=r"'pool5' \(ROIPooling\): row 1 of the regions 'b1' belongs to batch item 2"):
        layer(torch.zeros(2, 2, 4, 4), torch.tensor([[1, 0, 0, 3, 3], [2, 0, 0, 3, 3], [0, 0, 0, 1, 1.0]]))
