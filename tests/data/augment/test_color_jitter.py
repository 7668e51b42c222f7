"""`distort_param { mode: TORCHVISION }` against torchvision's ColorJitter."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest

from caffecompat.data import DataError
from caffecompat.data.augment import color_jitter
from caffecompat.data.augment.distort import Distortion
from caffecompat.schema import parse_text, pb
from tests.data.augment.references import PICTURE, difference, kolmogorov, names, reference

FULL = (
    "brightness_delta: 0.4 contrast_lower: 0.6 contrast_upper: 1.4 saturation_lower: 0.2 saturation_upper: 1.8 "
    "hue_delta: 0.1"
)


def jittered(fields: str, seed: int = 0, pixels: np.ndarray = PICTURE) -> np.ndarray:
    made = Distortion(parse_text(f"mode: TORCHVISION {fields}", pb.DistortionParameter()))
    before = pixels.copy()
    got = made.picture(pixels, np.random.default_rng(seed))
    np.testing.assert_array_equal(pixels, before)
    return got


@pytest.mark.parametrize("name", [*names("tensor contrast"), *names("tensor saturation")])
def test_factors_blend(name: str) -> None:
    _, operation, factor = name.split()
    got = jittered(f"{operation}_lower: {factor} {operation}_upper: {factor}")
    assert difference(got, reference(name)).max() <= 1


@pytest.fixture
def draws(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """What is done, in order, with which factor."""
    found: list[tuple[str, float]] = []

    def spy(name: str, picture: np.ndarray, value: float) -> np.ndarray:
        found.append((name, value))
        return picture

    spies = {name: lambda picture, value, name=name: spy(name, picture, value) for name in color_jitter._OPERATIONS}
    monkeypatch.setattr(color_jitter, "_OPERATIONS", spies)
    return found


def test_factors_are_uniform_in_their_ranges(draws: list[tuple[str, float]]) -> None:
    ranges = {"brightness": (0.6, 1.4), "contrast": (0.6, 1.4), "saturation": (0.2, 1.8), "hue": (-0.1, 0.1)}
    for seed in range(1500):
        jittered(FULL, seed)
    for name, (low, high) in ranges.items():
        values = np.array([value for found, value in draws if found == name])
        assert len(values) == 1500  # always, without a probability
        assert low - 1e-6 <= values.min() and values.max() <= high + 1e-6
        assert kolmogorov(values, np.linspace(low, high, 5000)) < 1.95


def test_brightness_is_never_negative(draws: list[tuple[str, float]]) -> None:
    for seed in range(300):
        jittered("brightness_delta: 2", seed)
    values = [value for _, value in draws]
    assert 0 <= min(values) < 0.05 and 2.9 < max(values) <= 3


def test_all_orders_are_alike_likely(draws: list[tuple[str, float]]) -> None:
    orders: Counter[tuple[str, ...]] = Counter()
    for seed in range(2400):
        draws.clear()
        jittered(FULL, seed)
        orders[tuple(name for name, _ in draws)] += 1
    assert set(orders) == set(permutations(["brightness", "contrast", "saturation", "hue"]))
    expected = 100
    assert sum((count - expected) ** 2 / expected for count in orders.values()) < 49.7  # chi square, 23 degrees, 0.1%


def test_each_has_its_probability(draws: list[tuple[str, float]]) -> None:
    fields = f"{FULL} brightness_prob: 0.25 contrast_prob: 0.5 saturation_prob: 0 hue_prob: 1"
    for seed in range(1000):
        jittered(fields, seed)
    counts = Counter(name for name, _ in draws)
    assert 200 < counts["brightness"] < 300 and 440 < counts["contrast"] < 560
    assert counts["saturation"] == 0 and counts["hue"] == 1000


def test_what_is_not_given_is_not_done(draws: list[tuple[str, float]]) -> None:
    np.testing.assert_array_equal(jittered(""), PICTURE)
    jittered("hue_delta: 0.2")
    assert [name for name, _ in draws] == ["hue"]


def test_channels_are_permuted_last() -> None:
    pixels = np.full((2, 2, 3), (10, 20, 30), np.uint8)
    orders = {tuple(jittered("random_order_prob: 1", seed, pixels)[0, 0].tolist()) for seed in range(60)}
    assert len(orders) == 6
    np.testing.assert_array_equal(jittered("random_order_prob: 0", 3, pixels), pixels)


def test_gray_pictures() -> None:
    gray = PICTURE[:, :, :1]
    assert jittered("brightness_delta: 0.5 contrast_lower: 0 contrast_upper: 2", 1, gray).shape == gray.shape
    with pytest.raises(DataError, match="saturation, hue and random order need three channels; the picture has 1"):
        jittered("hue_delta: 0.1", 0, gray)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("hue_delta: 18", r"hue_delta is 18; with mode: TORCHVISION it is a share of the circle, at most 0.5"),
        ("contrast_lower: 0.5", "has no contrast_upper, which contrast in mode TORCHVISION needs"),
        ("saturation_prob: 0.5", "has no saturation_lower and no saturation_upper"),
        ("brightness_prob: 1", "has no brightness_delta"),
        ("contrast_lower: 1.5 contrast_upper: 1", "contrast_upper is less than contrast_lower"),
        ("saturation_lower: -1 saturation_upper: 1", "saturation_lower must not be negative"),
        ("brightness_delta: -0.1", "brightness_delta must not be negative"),
        ("brightness_delta: inf", "brightness_delta must be a number of at most 1e\\+06, it is inf"),
        ("contrast_lower: nan contrast_upper: 1", "contrast_lower must be a number"),
        ("hue_delta: 0.1 hue_prob: nan", "hue_prob must be a number"),
    ],
)
def test_mistakes(fields: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        jittered(fields)


@pytest.mark.parametrize("mode", ["SSD", "TORCHVISION"])
def test_pictures_that_are_not_of_bytes(mode: str) -> None:
    made = Distortion(parse_text(f"mode: {mode} brightness_prob: 1 brightness_delta: 1", pb.DistortionParameter()))
    with pytest.raises(DataError, match="needs pictures of 8 bits a channel; this one has float32"):
        made.picture(PICTURE.astype(np.float32), np.random.default_rng(0))


def test_against_torchvision_itself() -> None:
    """Means and deviations of many jittered pictures."""
    transforms = pytest.importorskip("torchvision.transforms", exc_type=ImportError)
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(np.ascontiguousarray(PICTURE[:, :, ::-1])).permute(2, 0, 1)
    jitter = transforms.ColorJitter(0.4, 0.4, 0.8, 0.1)
    torch.manual_seed(0)
    theirs = np.stack([jitter(tensor).permute(1, 2, 0).numpy()[:, :, ::-1] for _ in range(600)]).astype(float)
    ours = np.stack([jittered(FULL, seed) for seed in range(600)]).astype(float)
    assert np.abs(ours.mean(0) - theirs.mean(0)).max() < 10
    assert kolmogorov(ours.mean((1, 2, 3)), theirs.mean((1, 2, 3))) < 1.95
    assert kolmogorov(ours.std((1, 2, 3)), theirs.std((1, 2, 3))) < 1.95
