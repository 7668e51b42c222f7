"""Intel Caffe's random sizes: `random_resize_param` and `random_aspect_ratio_param`."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from caffecompat.data import DataError
from caffecompat.data.augment.random_aspect_ratio import RandomAspectRatio
from caffecompat.data.augment.sample import Sample
from caffecompat.data.augment.short_side import RandomShortSide
from caffecompat.schema import parse_text, pb
from tests.data.batches import picture


def short_side(fields: str) -> RandomShortSide:
    made = RandomShortSide.of(parse_text(f"random_resize_param {{ {fields} }}", pb.TransformationParameter()), (4, 4))
    assert made is not None
    return made


def aspect_ratio(fields: str = "", crop: str = "crop_size: 8") -> RandomAspectRatio:
    made = RandomAspectRatio.of(
        parse_text(f"{crop} random_aspect_ratio_param {{ {fields} }}", pb.TransformationParameter())
    )
    assert made is not None
    return made


class TestRandomShortSide:
    def test_sizes(self) -> None:
        made, generator = short_side("min_size: 20 max_size: 22"), np.random.default_rng(0)
        assert {made(Sample(picture(30, 40)), generator).size for _ in range(60)} == {(20, 26), (21, 28), (22, 29)}
        assert {made(Sample(picture(40, 30)), generator).size for _ in range(60)} == {(26, 20), (28, 21), (29, 22)}

    def test_without_limits_it_is_from_the_shorter_to_the_longer_side(self) -> None:
        made, generator = short_side(""), np.random.default_rng(0)
        sides = [made(Sample(picture(10, 14)), generator).size[0] for _ in range(200)]
        assert set(sides) == {10, 11, 12, 13, 14}

    def test_the_longer_side_is_computed_in_single_precision(self) -> None:
        """int(float(w) / h * side): 125 / 41 * 41 is 124.99999 there."""
        want = int(np.float32(125) / np.float32(41) * np.float32(41))
        assert (
            short_side("min_size: 41 max_size: 41")(Sample(picture(41, 125)), np.random.default_rng(0)).size[1] == want
        )

    def test_interpolation_and_labels(self) -> None:
        pixels, label = picture(20, 20), picture(20, 20, 1)
        made = short_side("min_size: 10 max_size: 10 resize_param { interp_mode: AREA }")
        got = made(Sample(pixels, label), np.random.default_rng(0))
        np.testing.assert_array_equal(got.picture, cv2.resize(pixels, (10, 10), interpolation=cv2.INTER_AREA))
        np.testing.assert_array_equal(got.label, label[::2, ::2])

    def test_mistakes(self) -> None:
        with pytest.raises(DataError, match="min_size <= max_size, found 9 and 3"):
            short_side("min_size: 9 max_size: 3")
        with pytest.raises(DataError, match="min_size of 50 is more than the longer side of the picture, 20"):
            short_side("min_size: 50")(Sample(picture(10, 20)), np.random.default_rng(0))
        with pytest.raises(DataError, match="needs a crop_size"):
            RandomShortSide.of(parse_text("random_resize_param { }", pb.TransformationParameter()), None)


class TestRandomAspectRatio:
    def test_distribution(self) -> None:
        """Areas evenly from 0.3 to 0.6; sides by a factor from 0.8 to 1.25, half of them exchanged: both alike."""
        made, generator = aspect_ratio("min_area_ratio: 0.3 max_area_ratio: 0.6 aspect_ratio_change: 0.8"), None
        generator = np.random.default_rng(0)
        found = [made.part(1000, 1000, generator) for _ in range(3000)]
        rows = np.array([part for part in found if part is not None])
        assert len(rows) == 3000  # sides of at most 968 always fit
        areas, changes = rows[:, 2] * rows[:, 3] / 1e6, np.sqrt(rows[:, 2] / rows[:, 3])
        np.testing.assert_allclose(
            np.quantile(areas, [0, 0.25, 0.5, 0.75, 1]), [0.3, 0.375, 0.45, 0.525, 0.6], atol=0.01
        )
        assert 0.799 < changes.min() < 0.803 and 1.245 < changes.max() < 1.252
        reference = np.random.default_rng(9)
        even = reference.uniform(0.8, 1.25, 30000)
        mixed = np.where(reference.random(30000) < 0.5, even, 1 / even)
        deciles = np.arange(0.1, 1, 0.1)
        np.testing.assert_allclose(np.quantile(changes, deciles), np.quantile(mixed, deciles), atol=0.02)
        room = 1000 - rows[:, 2:]
        assert abs((rows[:, :2] / room).mean() - 0.5) < 0.02

    def test_steps_of_a_thousandth(self) -> None:
        made, generator = aspect_ratio("min_area_ratio: 0.25 max_area_ratio: 0.2515"), np.random.default_rng(0)
        sides = {made.part(10000, 10000, generator) for _ in range(40)}
        assert {part.height for part in sides if part} == {5000, 5009}  # 10000 sqrt(0.251) = 5009.99

    def test_picture_is_the_part_resized_to_the_crop(self) -> None:
        pixels = picture(30, 30)
        made = aspect_ratio("resize_param { interp_mode: NEAREST }")
        got = made(Sample(pixels), np.random.default_rng(2)).picture
        part = made.part(30, 30, np.random.default_rng(2))
        assert part is not None
        cut = pixels[part.top : part.top + part.height, part.left : part.left + part.width]
        np.testing.assert_array_equal(got, cv2.resize(cut, (8, 8), interpolation=cv2.INTER_NEAREST))

    def test_without_a_fitting_part_the_shorter_side_is_resized_to_the_crop(self) -> None:
        made = aspect_ratio("min_area_ratio: 3 max_area_ratio: 3")
        assert made.part(20, 50, np.random.default_rng(0)) is None
        assert made(Sample(picture(20, 50)), np.random.default_rng(0)).size == (8, 20)

    @pytest.mark.parametrize(
        ("fields", "crop", "message"),
        [
            ("", "crop_h: 3 crop_w: 3", "resizes to the crop_size; transform_param has none"),
            ("min_area_ratio: 2", "crop_size: 8", "min_area_ratio <= max_area_ratio <= 100, found 2 and 1"),
            ("aspect_ratio_change: 1.5", "crop_size: 8", "must be from 0.01 to 1, it is 1.5"),
            ("aspect_ratio_change: 1e-30", "crop_size: 8", "must be from 0.01 to 1, it is 1e-30"),
            ("max_area_ratio: 1e30", "crop_size: 8", "max_area_ratio <= 100, found 0.5 and 1e[+]30"),
            ("max_attempt: 4000000000", "crop_size: 8", "max_attempt must be at most 1000"),
        ],
    )
    def test_mistakes(self, fields: str, crop: str, message: str) -> None:
        with pytest.raises(DataError, match=message):
            aspect_ratio(fields, crop)
