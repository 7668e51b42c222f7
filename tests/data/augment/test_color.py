"""Color operations against Pillow, as timm calls it, and against torchvision."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from caffecompat.data.augment import color
from tests.data.augment.references import PICTURE, difference, names, reference
from tests.data.batches import picture

EXACT = {
    "brightness": color.adjust_brightness,
    "contrast": color.adjust_contrast,
    "sharpness": color.adjust_sharpness,
    "posterize": lambda pixels, bits: color.posterize(pixels, int(bits)),
    "solarize": lambda pixels, threshold: color.solarize(pixels, int(threshold)),
    "solarize_add": lambda pixels, amount: color.solarize_add(pixels, int(amount)),
}
WITHIN_ROUNDING = {
    "color": color.adjust_saturation,
    "tensor brightness": color.adjust_brightness,
    "tensor contrast": color.adjust_contrast,
    "tensor saturation": color.adjust_saturation,
    "tensor hue": color.adjust_hue,
}
Operation = Callable[[np.ndarray, float], np.ndarray]


def cases(operations: dict[str, Operation]) -> list[tuple[str, Operation]]:
    return [(name, operation) for key, operation in operations.items() for name in names(key)]


@pytest.mark.parametrize(("name", "operation"), cases(EXACT))
def test_as_pillow_does(name: str, operation: Operation) -> None:
    np.testing.assert_array_equal(operation(PICTURE, float(name.split()[-1])), reference(name))


@pytest.mark.parametrize(("name", "operation"), cases(WITHIN_ROUNDING))
def test_within_the_rounding_of_bytes(name: str, operation: Operation) -> None:
    assert difference(operation(PICTURE, float(name.split()[-1])), reference(name)).max() <= 1


@pytest.mark.parametrize("operation", [color.auto_contrast, color.equalize])
def test_by_histogram_as_pillow_does(operation: Callable[[np.ndarray], np.ndarray]) -> None:
    np.testing.assert_array_equal(operation(PICTURE), reference(operation.__name__))


@pytest.mark.parametrize("name", names("blur"))
def test_blur(name: str) -> None:
    """Pillow comes near a Gaussian by three boxes."""
    assert difference(color.blur(PICTURE, float(name.split()[-1])), reference(name)).max() <= 3


def test_pictures_of_one_value() -> None:
    flat = np.full((6, 7, 3), 77, np.uint8)
    for operation in (color.auto_contrast, color.equalize):
        np.testing.assert_array_equal(operation(flat), flat)
    assert difference(color.adjust_saturation(flat, 1.7), flat).max() <= 1
    np.testing.assert_array_equal(color.adjust_sharpness(flat, 1.7), flat)
    np.testing.assert_array_equal(color.adjust_hue(flat, 0.3), flat)


def test_hues_wrap_around() -> None:
    red = np.full((2, 2, 3), (0, 0, 255), np.uint8)
    assert color.adjust_hue(red, 1 / 3)[0, 0].tolist() == [0, 255, 0]
    assert color.adjust_hue(red, -1 / 3)[0, 0].tolist() == [255, 0, 0]
    assert color.adjust_hue(red, 0.5)[0, 0].tolist() == [255, 255, 0]


@pytest.mark.parametrize("shape", [(9, 11, 1), (2, 2, 1), (1, 5, 3), (5, 1, 3)])
def test_shapes_stay_and_the_given_picture_too(shape: tuple[int, int, int]) -> None:
    pixels = picture(*shape)
    before = pixels.copy()
    blends = color.adjust_brightness, color.adjust_contrast, color.adjust_saturation, color.adjust_sharpness
    for operation in (
        *(partial(blend, factor=1.3) for blend in blends),
        partial(color.blur, deviation=1.3),
        color.auto_contrast,
        color.equalize,
        partial(color.solarize, threshold=100),
    ):
        got = operation(pixels)
        assert got.shape == shape and got.dtype == np.uint8
        np.testing.assert_array_equal(pixels, before)


def test_all_blocks_of_a_large_picture_are_turned() -> None:
    pixels = picture(70, 1300)
    np.testing.assert_array_equal(color.adjust_hue(pixels, 0.2)[40:], color.adjust_hue(pixels[40:], 0.2))
