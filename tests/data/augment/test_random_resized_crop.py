"""`random_resized_crop_param` against torchvision's definition, computed in another way."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from caffecompat.data import DataError
from caffecompat.data.augment.random_resized_crop import Part, RandomResizedCrop
from caffecompat.data.augment.sample import Sample
from caffecompat.schema import parse_text, pb
from tests.data.batches import picture

DRAWS = 8000


def random_resized_crop(fields: str = "", crop: tuple[int, int] | None = (8, 8), more: str = "") -> RandomResizedCrop:
    text = f"random_resized_crop_param {{ {fields} }} {more}"
    made = RandomResizedCrop.of(parse_text(text, pb.TransformationParameter()), crop)
    assert made is not None
    return made


def parts(made: RandomResizedCrop, height: int, width: int) -> np.ndarray:
    """(DRAWS, 4) top, left, height, width."""
    generator = np.random.default_rng(3)
    return np.array([made.part(height, width, generator) for _ in range(DRAWS)])


def reference(height: int, width: int, areas: tuple[float, float], aspects: tuple[float, float]) -> np.ndarray:
    """(DRAWS, 4) parts by torchvision's rule, all attempts of all pictures at once."""
    generator = np.random.default_rng(11)
    area = generator.uniform(*areas, (DRAWS, 10)) * height * width
    aspect = np.exp(generator.uniform(*np.log(aspects), (DRAWS, 10)))
    wide, tall = np.round((area * aspect) ** 0.5), np.round((area / aspect) ** 0.5)
    fits = (wide >= 1) & (wide <= width) & (tall >= 1) & (tall <= height)
    first = fits.argmax(1)
    rows = np.arange(DRAWS)
    chosen = np.column_stack([tall[rows, first], wide[rows, first]])
    places = np.floor(generator.random(chosen.shape) * (np.array([height, width]) - chosen + 1))
    fallback = np.array([min(height, round(width / aspects[0])), min(width, round(height * aspects[1]))])
    chosen[~fits.any(1)], places[~fits.any(1)] = fallback, (np.array([height, width]) - fallback) // 2
    return np.column_stack([places, chosen])


@pytest.mark.parametrize("size", [(60, 80), (90, 50), (64, 64)])
def test_parts_are_distributed_as_torchvisions(size: tuple[int, int]) -> None:
    height, width = size
    got, want = parts(random_resized_crop(), height, width), reference(height, width, (0.08, 1), (3 / 4, 4 / 3))
    assert (got[:, 0] + got[:, 2] <= height).all() and (got[:, 1] + got[:, 3] <= width).all() and got.min() >= 0
    for measure in (
        lambda p: p[:, 2] * p[:, 3] / (height * width),
        lambda p: np.log(p[:, 3] / p[:, 2]),
        lambda p: p[:, 0] / height,
        lambda p: p[:, 1] / width,
    ):
        deciles = np.arange(0.1, 1, 0.1)
        one, other = measure(got), measure(want)
        np.testing.assert_allclose(np.quantile(one, deciles), np.quantile(other, deciles), atol=0.04)
        assert abs(one.mean() - other.mean()) < 0.01


def test_limits_are_kept() -> None:
    made = random_resized_crop("min_area: 0.25 max_area: 0.5 min_aspect: 0.5 max_aspect: 2")
    got = parts(made, 200, 200)
    areas, aspects = got[:, 2] * got[:, 3] / 40000, got[:, 3] / got[:, 2]
    assert 0.245 < areas.min() < 0.26 and 0.49 < areas.max() < 0.505
    assert 0.49 < aspects.min() < 0.52 and 1.93 < aspects.max() < 2.03
    assert abs((aspects < 1).mean() - 0.5) < 0.03  # in the logarithm, narrow parts are as many as wide ones


@pytest.mark.parametrize(
    ("size", "fields", "want"),
    [
        ((30, 90), "", Part(0, 25, 30, 40)),  # 90/30 is wider than 4/3: 30 high, 40 wide
        ((90, 30), "", Part(25, 0, 40, 30)),
        ((30, 36), "", Part(0, 0, 30, 36)),  # within the limits: all of it
        ((100, 100), "min_aspect: 2 max_aspect: 3", Part(25, 0, 50, 100)),
    ],
)
def test_without_a_fitting_part_it_is_one_at_the_center(size: tuple[int, int], fields: str, want: Part) -> None:
    """With attempts: 0 that is at once; with 10, areas of four times the picture never fit."""
    assert random_resized_crop(f"attempts: 0 {fields}").part(*size, np.random.default_rng(0)) == want
    made = random_resized_crop(f"min_area: 4 max_area: 4 {fields}")
    assert made.part(*size, np.random.default_rng(0)) == want


def test_picture_and_labels_are_the_part_resized() -> None:
    pixels, label = picture(40, 50), picture(40, 50, 1, seed=1)
    made = random_resized_crop("interp_mode: CUBIC", crop=(12, 20))
    got = made(Sample(pixels, label), np.random.default_rng(5))
    top, left, height, width = made.part(40, 50, np.random.default_rng(5))
    cut = pixels[top : top + height, left : left + width]
    np.testing.assert_array_equal(got.picture, cv2.resize(cut, (20, 12), interpolation=cv2.INTER_CUBIC))
    of_label = label[top : top + height, left : left + width]
    assert got.label is not None
    np.testing.assert_array_equal(got.label[:, :, 0], cv2.resize(of_label, (20, 12), interpolation=cv2.INTER_NEAREST))


def test_one_of_several_interpolations_is_drawn() -> None:
    pixels = picture(40, 50)
    made = random_resized_crop("interp_mode: LINEAR interp_mode: NEAREST attempts: 0")
    generator = np.random.default_rng(0)
    whole = pixels[:, :]
    results = {made(Sample(pixels), generator).picture.tobytes() for _ in range(30)}
    assert results == {
        cv2.resize(whole, (8, 8), interpolation=flag).tobytes() for flag in (cv2.INTER_LINEAR, cv2.INTER_NEAREST)
    }


def test_interp_mode_of_transform_param_counts_without_its_own() -> None:
    pixels = picture(40, 40)
    got = random_resized_crop("attempts: 0", more="interp_mode: AREA")(Sample(pixels), np.random.default_rng(0)).picture
    np.testing.assert_array_equal(got, cv2.resize(pixels, (8, 8), interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("min_area: 0", "0 < min_area <= max_area, found 0 and 1"),
        ("min_area: 0.5 max_area: 0.4", "0 < min_area <= max_area, found 0.5 and 0.4"),
        ("max_aspect: inf", "0 < min_aspect <= max_aspect, found 0.75 and inf"),
        ("min_area: nan", "0 < min_area <= max_area, found nan and 1"),
        ("attempts: 4000000000", "random_resized_crop_param.attempts must be at most 1000, it is 4000000000"),
        ("min_aspect: 3 max_aspect: 2", "0 < min_aspect <= max_aspect, found 3 and 2"),
    ],
)
def test_mistakes(fields: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        random_resized_crop(fields)


def test_a_crop_is_needed() -> None:
    with pytest.raises(DataError, match="random_resized_crop_param resizes to the crop; transform_param needs crop"):
        random_resized_crop(crop=None)
