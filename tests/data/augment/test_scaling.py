"""`scale_min` and `scale_max`, `scale_factors`, `short_side` and `expand_param`."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from caffecompat.data import DataError
from caffecompat.data.augment.expansion import Expansion
from caffecompat.data.augment.sample import Sample
from caffecompat.data.augment.scale_jitter import ScaleFactors, ScaleJitter
from caffecompat.data.augment.short_side import ShortSide, by_short_side
from caffecompat.schema import parse_text, pb
from tests.data.batches import picture


def transform(fields: str) -> pb.TransformationParameter:
    return parse_text(fields, pb.TransformationParameter())


class TestScaleJitter:
    def test_factors_are_even(self) -> None:
        made, generator = ScaleJitter.of(transform("scale_min: 0.5 scale_max: 2")), np.random.default_rng(0)
        assert made is not None
        sizes = np.array([made.size(1000, 500, generator) for _ in range(3000)])
        np.testing.assert_allclose(np.quantile(sizes[:, 0], [0, 0.5, 1]), [500, 1250, 2000], atol=30)
        assert abs(sizes[:, 0].std() - 1500 / 12**0.5) < 15
        assert np.abs(sizes[:, 0] - 2 * sizes[:, 1]).max() <= 1

    def test_sizes_are_rounded_and_labels_nearest(self) -> None:
        made = ScaleJitter.of(transform("scale_min: 0.5 scale_max: 0.5 interp_mode: AREA"))
        assert made is not None
        pixels, label = picture(11, 20), picture(11, 20, 1)
        got = made(Sample(pixels, label), np.random.default_rng(0))
        np.testing.assert_array_equal(got.picture, cv2.resize(pixels, (10, 6), interpolation=cv2.INTER_AREA))
        assert got.label is not None
        np.testing.assert_array_equal(got.label[:, :, 0], cv2.resize(label, (10, 6), interpolation=cv2.INTER_NEAREST))

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ("scale_min: 0.5", "scale_min and scale_max together"),
            ("scale_max: 2", "scale_min and scale_max together"),
            ("scale_min: 2 scale_max: 1", "0 < scale_min <= scale_max, found 2 and 1"),
            ("scale_min: 1 scale_max: inf", "0 < scale_min <= scale_max, found 1 and inf"),
            ("scale_min: 0 scale_max: 1", "0 < scale_min <= scale_max, found 0 and 1"),
        ],
    )
    def test_mistakes(self, fields: str, message: str) -> None:
        with pytest.raises(DataError, match=message):
            ScaleJitter.of(transform(fields))


class TestScaleFactors:
    def test_sizes_are_rounded_down(self) -> None:
        made = ScaleFactors.of(transform("scale_factors: 0.5 scale_factors: 1.25"))
        assert made is not None
        assert [made(Sample(picture(11, 21)), choice).size for choice in range(3)] == [(5, 10), (13, 26), (5, 10)]

    def test_mistakes(self) -> None:
        with pytest.raises(DataError, match="scale_factors must be more than 0, one is -1"):
            ScaleFactors.of(transform("scale_factors: -1"))
        made = ScaleFactors.of(transform("scale_factors: 0.1"))
        assert made is not None
        with pytest.raises(DataError, match=r"scale_factors 0\.1 leaves nothing"):
            made(Sample(picture(5, 5)), 0)


@pytest.mark.parametrize(
    ("size", "side", "want"),
    [((375, 500), 256, (256, 341)), ((500, 375), 256, (341, 256)), ((7, 7), 3, (3, 3)), ((480, 640), 513, (513, 684))],
)
def test_short_side(size: tuple[int, int], side: int, want: tuple[int, int]) -> None:
    """torchvision: int(side x longer / shorter)."""
    assert by_short_side(*size, side) == want
    made = ShortSide.of(transform(f"short_side: {side} interp_mode: CUBIC"))
    assert made is not None
    pixels = picture(*size)
    got = made(Sample(pixels), np.random.default_rng(0)).picture
    np.testing.assert_array_equal(got, cv2.resize(pixels, want[::-1], interpolation=cv2.INTER_CUBIC))


class TestExpansion:
    def test_canvas_of_mean_and_ignored_label(self) -> None:
        made = Expansion.of(transform("expand_param { max_expand_ratio: 3 } mean_value: [104, 117, 123]"), 9)
        assert made is not None
        pixels, label, generator = picture(10, 20), picture(10, 20, 1) // 32, np.random.default_rng(0)
        ratios = []
        for _ in range(300):
            got = made(Sample(pixels, label, np.array([[1, 0, 0, 0, 1, 1, 0]], np.float32)), generator)
            height, width = got.size
            assert got.boxes is not None and got.label is not None
            left, top, right, bottom = np.rint(got.boxes[0] * [width, height, width, height]).astype(int).tolist()
            np.testing.assert_array_equal(got.picture[top:bottom, left:right], pixels)
            np.testing.assert_array_equal(got.label[top:bottom, left:right], label)
            around = np.ones((height, width), bool)
            around[top:bottom, left:right] = False
            assert (got.picture[around] == (104, 117, 123)).all() and (got.label[around] == 9).all()
            ratios.append(height / 10)
        assert min(ratios) == 1 and 2.8 < max(ratios) < 3 and abs(np.mean(ratios) - 1.95) < 0.08  # rounded down

    def test_probability(self) -> None:
        made = Expansion.of(transform("expand_param { max_expand_ratio: 3 prob: 0.25 }"))
        assert made is not None
        generator = np.random.default_rng(0)
        assert 20 < sum(made.canvas(100, 100, generator) is not None for _ in range(120)) < 40

    def test_mistakes(self) -> None:
        for ratio in ("1", "nan", "inf"):
            with pytest.raises(DataError, match=f"max_expand_ratio must be more than 1, it is {ratio}"):
                Expansion.of(transform(f"expand_param {{ max_expand_ratio: {ratio} }}"))
        with pytest.raises(DataError, match=r"expand_param\.prob must be from 0 to 1, it is 2"):
            Expansion.of(transform("expand_param { max_expand_ratio: 2 prob: 2 }"))
        made = Expansion.of(transform("expand_param { max_expand_ratio: 3 }"))
        assert made is not None
        with pytest.raises(DataError, match="5 channels cannot be padded"):
            [made(Sample(picture(4, 4, 5)), np.random.default_rng(k)) for k in range(9)]
