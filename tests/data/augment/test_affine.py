"""Affine maps of pictures, labels and boxes against Pillow, as timm calls it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from caffecompat.data.augment import affine
from tests.data.augment.references import FILL, LABELS, PICTURE, REFERENCES, difference, names, reference
from tests.data.batches import picture

HEIGHT, WIDTH = PICTURE.shape[:2]
MAPS: dict[str, Callable[[float], np.ndarray]] = {
    "rotate": lambda degrees: affine.rotation(degrees, HEIGHT, WIDTH),
    "shear_x": affine.shear_x,
    "shear_y": affine.shear_y,
    "translate_x": lambda share: affine.translation(share * WIDTH, 0),
    "translate_y": lambda share: affine.translation(0, share * HEIGHT),
}
CASES = [name for operation in MAPS for name in names(operation)]


def matrix(name: str) -> np.ndarray:
    operation, argument = name.split()
    return MAPS[operation](float(argument))


@pytest.mark.parametrize("name", CASES)
def test_bilinear_pictures(name: str) -> None:
    """Pillow cuts off where OpenCV rounds. The edge towards the fill is as sharp in both."""
    assert difference(affine.move_picture(PICTURE, matrix(name), FILL), reference(name)).max() <= 2


@pytest.mark.parametrize("name", CASES)
def test_bicubic_pictures(name: str) -> None:
    """The kernels differ (a = -0.75 and -1); yet each is nearer to the other than to the bilinear picture."""
    got = affine.move_picture(PICTURE, matrix(name), FILL, cubic=True)
    wanted = reference(f"cubic {name}")
    apart = difference(got, wanted).mean()
    assert apart < 3 and (apart < 0.6 or apart < 0.7 * difference(reference(name), wanted).mean())


@pytest.mark.parametrize("cubic", [False, True])
@pytest.mark.parametrize("offset", [-99, -30, -17.3, -0.75, -0.25, 0, 0.4, 5, 12.6, 28.7, 99])
def test_translations_by_hand(offset: float, cubic: bool) -> None:
    """Every row read at x + offset by the formula of the kernel; columns as rows."""
    width = 30
    pixels = picture(20, width)
    places = np.arange(width) + offset
    whole = np.floor(places).astype(int)
    want = np.zeros((20, width, 3))
    for step in range(-1, 3):
        distance = np.abs(places - whole - step)
        weight = np.maximum(1 - distance, 0)
        if cubic:  # Keys' kernel with a = -0.75
            near = 1.25 * distance**3 - 2.25 * distance**2 + 1
            far = -0.75 * (distance**3 - 5 * distance**2 + 8 * distance - 4)
            weight = np.where(distance <= 1, near, far)
        want += weight[:, None] * pixels[:, (whole + step).clip(0, width - 1)]
    want = np.where(((places >= -0.5) & (places < width - 0.5))[:, None], want.clip(0, 255), (1, 2, 3))
    got = affine.move_picture(pixels, affine.translation(offset, 0), [1, 2, 3], cubic=cubic)
    assert np.abs(got - want).max() <= 0.51
    turned = np.ascontiguousarray(pixels.transpose(1, 0, 2))
    got = affine.move_picture(turned, affine.translation(0, offset), [1, 2, 3], cubic=cubic)
    assert np.abs(got - want.transpose(1, 0, 2)).max() <= 0.51
    gray = affine.move_picture(pixels[:, :, :1], affine.translation(offset, 0), [1], cubic=cubic)
    assert np.abs(gray - want[:, :, :1]).max() <= 0.51


@pytest.mark.parametrize("name", CASES)
def test_labels(name: str) -> None:
    got = affine.move_labels(LABELS, matrix(name), (HEIGHT, WIDTH), 255)
    assert (got != REFERENCES[f"label {name}"][:, :, None]).mean() < 0.01  # OpenCV counts in 1/32 pixels


@pytest.mark.parametrize("name", CASES)
def test_gray_pictures(name: str) -> None:
    got = affine.move_picture(PICTURE[:, :, 1:2], matrix(name), FILL[1:2])
    assert difference(got, reference(name)[:, :, 1:2]).max() <= 2


@pytest.mark.parametrize("name", CASES)
def test_smaller_labels_move_with_the_picture(name: str) -> None:
    """Labels of half the size come out as whole ones do that were made of 2x2 squares of them."""
    small = LABELS[: HEIGHT // 2, : WIDTH // 2]
    whole = small.repeat(2, 0).repeat(2, 1)
    height, width = whole.shape[:2]
    operation, argument = name.split()
    map_ = affine.rotation(float(argument), height, width) if operation == "rotate" else matrix(name)
    got = affine.move_labels(small, map_, (height, width), 255).repeat(2, 0).repeat(2, 1)
    moved = affine.move_labels(whole, map_, (height, width), 255)
    assert (got != moved).mean() < 0.65  # the borders of the squares differ, and all pixels are near one
    centers = affine.move_labels(np.pad(small, 1, mode="edge"), map_, (height, width), 255)  # another place entirely
    assert (got != moved).mean() < (centers[1:-1, 1:-1].repeat(2, 0).repeat(2, 1) != moved).mean()


@pytest.mark.parametrize("name", CASES)
def test_boxes_are_around_the_moved_pixels(name: str) -> None:
    size = 400, 600
    pixels = np.zeros((*size, 1), np.uint8)
    pixels[150:230, 260:340] = 255
    operation, argument = name.split()
    map_ = {
        "rotate": lambda value: affine.rotation(value, *size),
        "translate_x": lambda value: affine.translation(value * size[1], 0),
        "translate_y": lambda value: affine.translation(0, value * size[0]),
    }.get(operation, MAPS[operation])(float(argument))
    box = np.array([[260 / 600, 150 / 400, 340 / 600, 230 / 400]], np.float32)
    moved = affine.move_picture(pixels, map_, [0.0])[:, :, 0] > 127
    rows, columns = np.nonzero(moved.any(1))[0], np.nonzero(moved.any(0))[0]
    wanted = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    got = affine.move_boxes(box, map_, *size)[0].clip(0, 1) * (600, 400, 600, 400)
    np.testing.assert_allclose(got, wanted, atol=1.5)
    assert affine.move_boxes(np.zeros((0, 4), np.float32), map_, *size).shape == (0, 4)
