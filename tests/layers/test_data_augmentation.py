"""DataAugmentation as nets at test have it: a centered crop and a mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from caffecompat.layers import Layer, LayerError
from caffecompat.schema import pb
from tests.layers.make import make_layer

RANDOM = "rotate { spread: 0.4 } lmult_pow { mean: -0.2 exp: true }"


def make(settings: str, *shape: int, phase: int = pb.TEST, more: str = "") -> Layer:
    return make_layer(f'type: "DataAugmentation" {more} augmentation_param {{ {settings} }}', shape, phase=phase)


def crop_by_loops(bottom: np.ndarray, height: int, width: int) -> np.ndarray:
    top = np.zeros((*bottom.shape[:2], height, width))
    full_y, full_x = bottom.shape[2:]
    for y, x in np.ndindex(height, width):
        x_in = min(max(x - width / 2 + full_x / 2, 0), full_x - 1.05)
        y_in = min(max(y - height / 2 + full_y / 2, 0), full_y - 1.05)
        left, upper = int(x_in), int(y_in)
        a, b = x_in - left, y_in - upper
        corners = bottom[:, :, upper : upper + 2, left : left + 2]
        top[:, :, y, x] = (corners * np.outer([1 - b, b], [1 - a, a])).sum((2, 3))
    return top


@pytest.mark.parametrize("size", [(4, 6), (3, 5), (6, 9), (5, 9)])
def test_crop(size: tuple[int, int]) -> None:
    bottom = np.random.default_rng(1).standard_normal((2, 3, 6, 9))
    top = make(f"crop_height: {size[0]} crop_width: {size[1]}", 2, 3, 6, 9)(torch.from_numpy(bottom))
    np.testing.assert_allclose(top.numpy(), crop_by_loops(bottom, *size), atol=2e-6)


def test_the_last_pixels_of_a_crop_of_full_size_are_mixed() -> None:
    top = make("crop_height: 2 crop_width: 3", 1, 1, 2, 3)(torch.tensor([[[[0.0, 10, 20], [0, 10, 20]]]]))
    torch.testing.assert_close(top, torch.tensor([[[[0.0, 10, 19.5], [0, 10, 19.5]]]]))


def test_without_a_crop_nothing_moves() -> None:
    bottom = torch.randn(1, 1, 2, 3)
    for phase in (pb.TRAIN, pb.TEST):
        assert torch.equal(make(RANDOM, 1, 1, 2, 3, phase=phase)(bottom), bottom)


def load(layer: Layer, *blobs: np.ndarray) -> None:
    arrays = layer.adapt_blobs(list(blobs))
    with torch.no_grad():
        for blob, array in zip(layer.blobs, arrays, strict=True):
            blob.copy_(torch.from_numpy(np.asarray(array, np.float32)))


def stored(size: tuple[int, int], batches: float = 1e5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Blobs of a file whose mean a channel is not that of its picture, so that one sees which is taken."""
    picture = np.random.default_rng(2).random((1, 3, *size)).astype(np.float32)
    return np.full((1, 1, 1, 1), batches, np.float32), picture, np.float32([0.4, 0.5, 0.6]).reshape(1, 3, 1, 1)


@pytest.mark.parametrize("size", [(4, 6), (3, 8)])
def test_mean_of_a_weight_file(size: tuple[int, int]) -> None:
    bottom, blobs = torch.rand(2, 3, 4, 6), stored(size)
    layer = make("recompute_mean: 1000 mean_per_pixel: false", 2, 3, 4, 6)
    load(layer, *blobs)
    torch.testing.assert_close(layer(bottom), bottom - torch.from_numpy(blobs[2]))
    layer = make("recompute_mean: 1000", 2, 3, 4, 6)
    load(layer, *blobs)
    mean = blobs[1] if size == (4, 6) else blobs[1].mean((2, 3), keepdims=True)
    torch.testing.assert_close(layer(bottom), bottom - torch.from_numpy(mean))
    assert layer.settled and float(layer.batches.detach()) == 1e5


def test_a_mean_that_is_not_asked_for_stays_in_the_file() -> None:
    layer, bottom = make("", 2, 3, 4, 6), torch.rand(2, 3, 4, 6)
    load(layer, *stored((4, 6)))
    assert torch.equal(layer(bottom), bottom)


def test_a_mean_a_channel_serves_every_size() -> None:
    layer = make("recompute_mean: 1000 mean_per_pixel: false", 2, 3, 4, 6)
    load(layer, *stored((4, 6)))
    assert layer(torch.rand(1, 3, 8, 9)).shape == (1, 3, 8, 9)
    layer = make("recompute_mean: 1000", 2, 3, 4, 6)
    load(layer, *stored((4, 6)))
    with pytest.raises(LayerError, match="its mean is a picture of 4 x 6, the input 8 x 9"):
        layer(torch.rand(1, 3, 8, 9))


@pytest.mark.parametrize("per_pixel", [True, False])
def test_the_mean_is_that_of_the_first_batches(per_pixel: bool) -> None:
    layer = make(f"recompute_mean: 2 mean_per_pixel: {str(per_pixel).lower()}", 2, 3, 4, 5)
    batches = [torch.rand(2, 3, 4, 5) for _ in range(3)]

    def mean(*seen: Tensor) -> Tensor:
        picture = torch.stack([batch.mean(0, keepdim=True) for batch in seen]).mean(0)
        return picture if per_pixel else picture.mean((2, 3), keepdim=True)

    torch.testing.assert_close(layer(batches[0]), batches[0] - mean(batches[0]))
    assert not layer.settled
    torch.testing.assert_close(layer(batches[1]), batches[1] - mean(*batches[:2]))
    torch.testing.assert_close(layer(batches[2]), batches[2] - mean(*batches[:2]))


def test_mean_of_the_text() -> None:
    bottom = torch.rand(1, 3, 2, 2)
    values = "mean: 0.25 mean: 0.5 mean: 1"
    top = make(f"{values} mean_per_pixel: false", 1, 3, 2, 2)(bottom)
    torch.testing.assert_close(top, bottom - torch.tensor([0.25, 0.5, 1]).view(1, 3, 1, 1))
    assert torch.equal(make(values, 1, 3, 2, 2)(bottom), bottom)
    with pytest.raises(LayerError, match="2 values of mean for 3 channels"):
        make("mean: 1 mean: 2 mean_per_pixel: false", 1, 3, 2, 2)


def test_blobs_and_tops() -> None:
    layer = make("recompute_mean: 9 crop_width: 4 crop_height: 2", 2, 3, 4, 5, more='top: "a" top: "coefficients"')
    assert [tuple(blob.shape) for blob in layer.blobs] == [(1, 1, 1, 1), (1, 3, 2, 4), (1, 3, 1, 1)]
    assert not any(blob.requires_grad for blob in layer.blobs) and not layer.needs_gradient(0)
    _, coefficients = layer(torch.rand(2, 3, 4, 5))
    assert coefficients.shape == (2, 42, 1, 1) and not coefficients.any()
    assert [tuple(blob.shape) for blob in make("", 2, 3, 4, 5).blobs] == [(1, 1, 1, 1)]


def test_what_is_drawn_at_random_is_refused() -> None:
    crop = "crop_width: 4 crop_height: 4"
    make(f"{crop} {RANDOM}", 1, 3, 4, 4)  # a test draws nothing
    make(crop, 1, 3, 4, 4, phase=pb.TRAIN)
    with pytest.raises(LayerError, match=r"at random \(rotate, lmult_pow.*in TRAIN is not supported"):
        make(f"{crop} {RANDOM}", 1, 3, 4, 4, phase=pb.TRAIN)
    with pytest.raises(LayerError, match="with augment_during_test"):
        make(f"{crop} {RANDOM} augment_during_test: true", 1, 3, 4, 4)
    with pytest.raises(LayerError, match="coefficients of another layer"):
        make_layer('type: "DataAugmentation"', (1, 3, 4, 4), (1, 42, 1, 1))
    with pytest.raises(LayerError, match=r"a crop of 5 x 4 \(height x width\) from 4 x 4"):
        make("crop_width: 4 crop_height: 5", 1, 3, 4, 4)
