"""Noise and distortion of SSD's transformer."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from caffecompat.data import DataError
from caffecompat.data.augment.distort import Distortion
from caffecompat.data.augment.noise import add_noise
from caffecompat.schema import parse_text, pb
from tests.data.batches import picture

PIXELS = picture(12, 20)


def noisy(fields: str, pixels: np.ndarray = PIXELS) -> np.ndarray:
    before = pixels.copy()
    got = add_noise(pixels, parse_text(fields, pb.NoiseParameter()), np.random.default_rng(0))
    np.testing.assert_array_equal(pixels, before)
    return got


def test_each_filter() -> None:
    gray = cv2.cvtColor(PIXELS, cv2.COLOR_BGR2GRAY)
    np.testing.assert_array_equal(noisy("decolorize: true"), np.repeat(gray[:, :, None], 3, 2))
    np.testing.assert_array_equal(noisy("gauss_blur: true"), cv2.GaussianBlur(PIXELS, (7, 7), 1.5))
    np.testing.assert_array_equal(noisy("inverse: true"), 255 - PIXELS)
    assert set(np.unique(noisy("posterize: true")).tolist()) == {32, 96, 160, 224}
    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
    np.testing.assert_array_equal(noisy("erode: true"), cv2.erode(PIXELS, cross))
    coded = cv2.imdecode(cv2.imencode(".jpg", PIXELS, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(noisy("jpeg: 30"), coded)
    np.testing.assert_array_equal(noisy("convert_to_hsv: true"), cv2.cvtColor(PIXELS, cv2.COLOR_BGR2HSV))
    lab = noisy("convert_to_lab: true")
    assert lab.dtype == np.float32 and lab[:, :, 0].min() >= 0 and lab[:, :, 0].max() <= 100


@pytest.mark.parametrize("name", ["hist_eq", "clahe"])
def test_brightness_filters(name: str) -> None:
    low = (PIXELS // 8 + 100).astype(np.uint8)
    assert noisy(f"{name}: true", low).std() > 1.5 * low.std()
    one = noisy(f"{name}: true", low[:, :, :1])
    assert one.shape == (12, 20, 1) and one.std() > 1.5 * low[:, :, :1].std()


def test_salt_and_pepper() -> None:
    got = noisy("saltpepper: true saltpepper_param { fraction: 0.25 value: 1 value: 2 value: 3 }")
    changed = (got != PIXELS).any(2)
    assert 30 < changed.sum() <= 60 and (got[changed] == (1, 2, 3)).all()
    with pytest.raises(DataError, match=r"0 noise_param.saltpepper_param.value\(s\) for 3"):
        noisy("saltpepper: true")


def test_one_channel() -> None:
    gray = PIXELS[:, :, :1]
    for fields in ("decolorize: true", "gauss_blur: true", "jpeg: 90", "erode: true", "posterize: true"):
        assert noisy(fields, gray).shape == gray.shape
    with pytest.raises(DataError, match="convert_to_hsv needs three channels; the picture has 1"):
        noisy("convert_to_hsv: true", gray)


def distorted(fields: str, seed: int, pixels: np.ndarray = PIXELS) -> np.ndarray:
    made = Distortion(parse_text(fields, pb.DistortionParameter()))
    return made.picture(pixels, np.random.default_rng(seed))


class TestDistortion:
    def test_brightness_adds_the_same_everywhere(self) -> None:
        low = (PIXELS // 4 + 90).astype(np.uint8)
        shifts = []
        for seed in range(40):
            difference = distorted("brightness_prob: 1 brightness_delta: 32", seed, low).astype(int) - low
            assert difference.min() == difference.max()
            shifts.append(difference.min())
        assert -32 <= min(shifts) < -20 and 20 < max(shifts) <= 32

    def test_contrast_multiplies(self) -> None:
        for seed in range(10):
            got = distorted("contrast_prob: 1 contrast_lower: 0.5 contrast_upper: 0.5", seed)
            np.testing.assert_array_equal(got, np.rint(PIXELS * 0.5))

    def test_saturation_and_hue(self) -> None:
        red = np.full((4, 4, 3), (20, 20, 220), np.uint8)
        np.testing.assert_array_equal(
            distorted("saturation_prob: 1 saturation_lower: 0 saturation_upper: 0", 0, red), 220
        )
        hues = [cv2.cvtColor(distorted("hue_prob: 1 hue_delta: 18", seed, red), cv2.COLOR_BGR2HSV)[0, 0, 0] for seed in
                range(60)]  # fmt: skip
        assert min(hues) == 0 and 14 < max(hues) <= 19  # negative ones are cut off
        assert hues.count(0) > 15

    def test_channel_order(self) -> None:
        orders = {tuple(distorted("random_order_prob: 1", seed)[0, 0].tolist()) for seed in range(60)}
        assert len(orders) == 6

    def test_probabilities(self) -> None:
        same = [np.array_equal(distorted("contrast_prob: 0.25 contrast_lower: 0.5 contrast_upper: 0.6", seed), PIXELS)
                for seed in range(200)]  # fmt: skip
        assert 130 < sum(same) < 170
        np.testing.assert_array_equal(distorted("", 0), PIXELS)

    def test_contrast_stands_on_either_side_of_hue(self) -> None:
        fields = "contrast_prob: 1 contrast_lower: 3 contrast_upper: 3 hue_prob: 1 hue_delta: 60"
        results = {distorted(fields, seed, PIXELS).tobytes() for seed in range(4)}
        assert len(results) == 4

    def test_mistakes(self) -> None:
        with pytest.raises(DataError, match="need three channels; the picture has 1"):
            distorted("hue_prob: 0.1", 0, PIXELS[:, :, :1])
        with pytest.raises(DataError, match="contrast_upper is less"):
            distorted("contrast_prob: 0.5 contrast_lower: 2", 0)
        with pytest.raises(DataError, match="hue_delta must not be negative"):
            distorted("hue_delta: -2", 0)
