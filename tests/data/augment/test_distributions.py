"""Random numbers of the operations of transform_param against others drawn by their sources' formulas.

Those of random_resized_crop_param, random_aspect_ratio_param, ColorJitter, RandAugment, random erasing and the batch
samplers are compared beside their other tests.
"""

from __future__ import annotations

import random
from collections import Counter

import cv2
import numpy as np
import pytest

from caffecompat.data.augment.augmentation import Augmentation, Augmented
from caffecompat.data.augment.expansion import Expansion
from caffecompat.data.augment.random_resize import RandomResize
from caffecompat.data.augment.sample import Sample
from caffecompat.data.augment.short_side import RandomShortSide
from caffecompat.data.source import Request
from caffecompat.schema import parse_text, pb
from tests.data.augment.references import kolmogorov
from tests.data.batches import TEST, TRAIN, layer, picture

DRAWS = 3000
LIMIT = 1.95  # of `kolmogorov`


def augmented(fields: str, pixels: np.ndarray, count: int = DRAWS, phase: int = TRAIN) -> list[Augmented]:
    made, generator = (
        Augmentation(Request(layer(f'type: "Data" transform_param {{ {fields} }}'), phase)),
        random.Random(2),
    )
    return [made(Sample(pixels), made.draw(generator)) for _ in range(count)]


def transform(fields: str) -> pb.TransformationParameter:
    return parse_text(fields, pb.TransformationParameter())


def even(low: float, high: float, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, 20000)


def test_mirror_and_crop() -> None:
    """Half of the pictures are mirrored, in both phases; the crop's corner is anywhere it can be."""
    got = augmented("mirror: true crop_size: 10", np.zeros((60, 90, 3), np.uint8))
    generator = np.random.default_rng(1)
    for name, room in (("top", 50), ("left", 80)):
        places = np.array([getattr(one.window, name) for one in got])
        assert kolmogorov(places, generator.integers(0, room + 1, 20000)) < LIMIT
        assert (places.min(), places.max()) == (0, room)
    for phase in (TRAIN, TEST):
        sides = [one.window.mirror for one in augmented("mirror: true", np.zeros((4, 4, 3), np.uint8), phase=phase)]
        assert abs(np.mean(sides) - 0.5) < 0.03
    mirrored = np.array([one.window.left for one in got if one.window.mirror])
    assert kolmogorov(mirrored, np.array([one.window.left for one in got if not one.window.mirror])) < LIMIT


def test_scale_factors() -> None:
    """PSPNet's: each of the factors as often as the others."""
    got = augmented("scale_factors: 1 scale_factors: 2 scale_factors: 0.5 scale_factors: 4", picture(4, 8))
    counts = Counter(one.shape[:2] for one in got)
    assert set(counts) == {(4, 8), (8, 16), (2, 4), (16, 32)}
    assert max(abs(count - DRAWS / 4) for count in counts.values()) < 100


def test_expansion() -> None:
    """SSD's im_transforms.cpp, ExpandImage: the ratio is even, and so are the offsets in what room it leaves."""
    made, generator = Expansion.of(transform("expand_param { max_expand_ratio: 4 }")), np.random.default_rng(3)
    assert made is not None
    found = [made.canvas(1000, 500, generator) for _ in range(DRAWS)]
    rows = np.array([canvas for canvas in found if canvas is not None])
    ratio = even(1, 4)
    assert kolmogorov(rows[:, 2] / 1000, ratio) < LIMIT and kolmogorov(rows[:, 3] / 500, ratio) < LIMIT
    assert np.abs(rows[:, 2] / 1000 - rows[:, 3] / 500).max() < 0.003  # one ratio for both sides
    assert kolmogorov(rows[:, 0], np.floor(even(0, 1, 6) * (1000 * ratio - 1000))) < LIMIT
    assert kolmogorov(rows[:, 1], np.floor(even(0, 1, 7) * (500 * ratio - 500))) < LIMIT
    assert abs(np.corrcoef(rows[:, 0] / rows[:, 2], rows[:, 1] / rows[:, 3])[0, 1]) < 0.35  # through the ratio alone


@pytest.mark.parametrize(
    ("fields", "value", "low", "high"),
    [
        ("brightness_prob: 1 brightness_delta: 32", 100, -32, 32),
        ("contrast_prob: 1 contrast_lower: 0.5 contrast_upper: 1.25", 200, 0.5, 1.25),
    ],
)
def test_ssds_distortion_of_values(fields: str, value: int, low: float, high: float) -> None:
    """What is added to a value, or what it is multiplied by, is even."""
    got = augmented(f"distort_param {{ {fields} }}", np.full((1, 1, 3), value, np.uint8))
    values = np.array([one.picture[0, 0, 0] for one in got])
    amounts = even(low, high)
    assert kolmogorov(values, np.rint(value + amounts if low < 0 else value * amounts)) < LIMIT


@pytest.mark.parametrize(
    ("fields", "channel", "low", "high"),
    [
        ("hue_prob: 1 hue_delta: 18", 0, -18, 18),
        ("saturation_prob: 1 saturation_lower: 0.5 saturation_upper: 1.5", 1, 0.5, 1.5),
    ],
)
def test_ssds_distortion_of_hue_and_saturation(fields: str, channel: int, low: float, high: float) -> None:
    pixel = cv2.cvtColor(np.full((1, 1, 3), (60, 120, 200), np.uint8), cv2.COLOR_HSV2BGR)
    got = augmented(f"distort_param {{ {fields} }}", pixel)
    values = np.array([cv2.cvtColor(one.picture, cv2.COLOR_BGR2HSV)[0, 0, channel] for one in got])
    amounts = even(low, high)
    whole = np.rint(120 * amounts) if channel else np.rint(60 + amounts)
    changed = np.tile(pixel, (len(whole), 1, 1))
    changed = cv2.cvtColor(changed, cv2.COLOR_BGR2HSV)
    changed[:, 0, channel] = whole
    through = cv2.cvtColor(cv2.cvtColor(changed, cv2.COLOR_HSV2BGR), cv2.COLOR_BGR2HSV)[:, 0, channel]
    assert kolmogorov(values, through) < LIMIT


def test_ssds_distortion_has_its_probabilities() -> None:
    """Each is done apart from the others; contrast comes before saturation and hue as often as after them."""
    names = ("brightness", "contrast", "saturation", "hue", "random_order")
    for name, prob in zip(names, (0.1, 0.3, 0.5, 0.7, 0.9), strict=True):
        amount = {"brightness": "brightness_delta: 90", "hue": "hue_delta: 90", "random_order": ""}
        limits = amount.get(name, f"{name}_lower: 0.3 {name}_upper: 0.5")
        pixels = np.full((1, 1, 3), (30, 100, 220), np.uint8)
        got = augmented(f"distort_param {{ {name}_prob: {prob} {limits} }}", pixels)
        changed = np.mean([not np.array_equal(one.picture, pixels) for one in got])
        assert abs(changed - (prob * 5 / 6 if name == "random_order" else prob)) < 0.04, name


def test_jacintos_sizes() -> None:
    """NVCaffe's img_rand_resize_* and stretches: whole numbers of the shorter side, then even factors."""
    fields = "img_rand_resize_lower: 100 img_rand_resize_upper: 300 horizontal_stretch_lower: 0.5"
    made = RandomResize.of(transform(f"{fields} horizontal_stretch_upper: 1.5 vertical_stretch_lower: 0.8 "
                                     "vertical_stretch_upper: 1.2 allow_upscale: true"))  # fmt: skip
    assert made is not None
    sizes = np.array([made.size(1000, 2000, np.random.default_rng(chance)) for chance in range(DRAWS)])
    short = np.random.default_rng(8).integers(100, 301, 20000)
    assert kolmogorov(sizes[:, 0], np.rint(short * even(0.8, 1.2, 9))) < LIMIT
    assert kolmogorov(sizes[:, 1], np.rint(2 * short * even(0.5, 1.5, 10))) < LIMIT


def test_intels_short_side() -> None:
    made = RandomShortSide.of(transform("random_resize_param { min_size: 20 max_size: 60 }"), (9, 9))
    assert made is not None
    generator = np.random.default_rng(4)
    sides = np.array([made(Sample(picture(30, 45)), generator).size[0] for _ in range(DRAWS)])
    assert kolmogorov(sides, np.random.default_rng(8).integers(20, 61, 20000)) < LIMIT


@pytest.mark.parametrize("way", ["random_resized_crop_param { attempts: 0 %s } crop_size: 8",
                                 "resize_param { height: 8 width: 8 %s }"])  # fmt: skip
def test_interpolations_are_alike_likely(way: str) -> None:
    modes = ("LINEAR", "NEAREST", "CUBIC")
    got = augmented(way % " ".join(f"interp_mode: {mode}" for mode in modes), picture(20, 20))
    counts = Counter(one.picture.tobytes() for one in got)
    assert len(counts) == 3 and max(abs(count - DRAWS / 3) for count in counts.values()) < 110
