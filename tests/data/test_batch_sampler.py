from __future__ import annotations

import numpy as np
import pytest

from caffecompat.data import DataError
from caffecompat.data.batch_sampler import BatchSampler, draw_sampler, pick_sample
from caffecompat.data.boxes import coverage, jaccard
from caffecompat.schema import parse_text, pb

OBJECTS = np.array([[0.1, 0.1, 0.4, 0.5], [0.6, 0.6, 0.9, 0.8]], np.float32)
RANGES = "sampler { min_scale: 0.3 max_scale: 1 min_aspect_ratio: 0.5 max_aspect_ratio: 2 }"


def sampler(fields: str) -> BatchSampler:
    return BatchSampler(parse_text(fields, pb.BatchSampler()))


def draw(fields: str, count: int = 300, objects: np.ndarray = OBJECTS) -> np.ndarray:
    """What `count` pictures with these objects are cut to; pictures left whole are left out."""
    one, generator = sampler(fields), np.random.default_rng(0)
    parts = [pick_sample([one], objects, generator) for _ in range(count)]
    return np.array([part for part in parts if part is not None], np.float32).reshape(-1, 4)


def test_scale_and_aspect_ratio() -> None:
    parts = draw(RANGES)
    width, height = (parts[:, 2:] - parts[:, :2]).T
    scale, ratio = np.sqrt(width * height), width / height
    assert 0.299 <= scale.min() < 0.35 and 0.95 < scale.max() <= 1.001
    assert 0.499 <= ratio.min() < 0.6 and 1.7 < ratio.max() <= 2.001
    assert parts.min() >= 0 and parts.max() <= 1
    assert ((ratio >= scale**2 - 1e-4) & (ratio <= scale**-2 + 1e-4)).all()


def test_no_sampler_is_the_whole_picture() -> None:
    np.testing.assert_array_equal(draw("max_sample: 1 max_trials: 1", 5), np.tile([0, 0, 1, 1], (5, 1)))


@pytest.mark.parametrize(
    ("limit", "measure"),
    [
        ("jaccard_overlap", lambda parts: jaccard(parts, OBJECTS)),
        ("sample_coverage", lambda parts: coverage(parts, OBJECTS)),
        ("object_coverage", lambda parts: coverage(OBJECTS, parts).T),
    ],
)
def test_one_object_within_the_limits_is_enough(limit: str, measure: object) -> None:
    parts = draw(f"{RANGES} max_sample: 1 sample_constraint {{ min_{limit}: 0.2 max_{limit}: 0.4 }}")
    values = measure(parts)  # type: ignore[operator]
    assert len(parts) > 100
    assert ((values >= 0.2) & (values <= 0.4)).any(1).all()


def test_the_first_kind_of_limit_decides() -> None:
    both = "sample_constraint { min_jaccard_overlap: 0.2 min_object_coverage: 0.9 }"
    parts = draw(f"{RANGES} max_sample: 1 {both}")
    assert jaccard(parts, OBJECTS).max(1).min() >= 0.2
    assert coverage(OBJECTS, parts).max(0).min() < 0.9


def test_max_sample_counts_within_trials() -> None:
    generator = np.random.default_rng(0)
    one = sampler(f"{RANGES} max_sample: 3 sample_constraint {{ max_jaccard_overlap: 0.1 }}")
    boxes = one.boxes(generator)
    assert len(boxes) == 100
    chosen = one.chosen(boxes, OBJECTS)
    fulfilling = boxes[(jaccard(boxes, OBJECTS) <= 0.1).any(1)]
    np.testing.assert_array_equal(chosen, fulfilling[:3])
    assert len(sampler(RANGES + "max_trials: 7").boxes(generator)) == 7


def test_nothing_found_and_nothing_to_find() -> None:
    impossible = "max_sample: 1 sample_constraint { min_jaccard_overlap: 1.5 }"
    assert not len(draw(impossible, 10))
    assert not len(draw(f"{RANGES} sample_constraint {{ min_jaccard_overlap: 0 }}", 10, np.zeros((0, 4), np.float32)))
    assert not len(draw("use_original_image: false", 3))
    assert pick_sample([], OBJECTS, np.random.default_rng(0)) is None


def test_all_samplers_finds_have_the_same_chance() -> None:
    whole, small = sampler("max_sample: 1"), sampler("sampler { min_scale: 0.3 max_scale: 0.3 } max_sample: 3")
    generator = np.random.default_rng(0)
    parts = [pick_sample([whole, small], OBJECTS, generator) for _ in range(400)]
    share = np.mean([part is not None and bool(part[2] - part[0] > 0.9) for part in parts])
    assert 0.18 < share < 0.32


@pytest.mark.parametrize(
    "fields",
    ["sampler { min_scale: 0 }", "sampler { min_scale: 0.5 max_scale: 0.3 }", "sampler { max_scale: 1.5 }",
     "sampler { min_aspect_ratio: 3 max_aspect_ratio: 2 }"],
)  # fmt: skip
def test_impossible_ranges(fields: str) -> None:
    with pytest.raises(DataError, match="batch_sampler: expected 0 < min_"):
        sampler(fields)


def test_width_and_height_drawn_apart() -> None:
    """Each side even over its range, the aspect ratio within its limits, as MLPerf's SSD draws them."""
    fields = "min_width: 0.3 max_width: 1 min_height: 0.2 max_height: 0.6 min_aspect_ratio: 0.5 max_aspect_ratio: 2"
    one = sampler(f"sampler {{ {fields} }} max_trials: 40000")
    parts = one.boxes(np.random.default_rng(0))
    width, height = (parts[:, 2:] - parts[:, :2]).T
    generator = np.random.default_rng(1)
    sides = generator.uniform((0.3, 0.2), (1, 0.6), (200000, 2))
    sides = sides[(sides[:, 0] / sides[:, 1] >= 0.5) & (sides[:, 0] / sides[:, 1] <= 2)]
    assert abs(len(parts) / 40000 - len(sides) / 200000) < 0.01
    shares = np.linspace(0.05, 0.95, 10)
    np.testing.assert_allclose(np.quantile(width, shares), np.quantile(sides[:, 0], shares), atol=0.01)
    np.testing.assert_allclose(np.quantile(height, shares), np.quantile(sides[:, 1], shares), atol=0.01)
    np.testing.assert_allclose(np.quantile(parts[:, 0] / (1 - width), shares), shares, atol=0.02)
    assert len(sampler("sampler { min_width: 0.3 min_height: 0.3 } max_trials: 50").boxes(generator)) == 50


def by_hand(objects: np.ndarray, generator: np.random.Generator) -> np.ndarray | None:
    """MLPerf's crop with the options whole, IoU 0.3 to 1 with every object, and any part: one trial a choice."""
    while True:
        option = generator.integers(3)
        if option == 0:
            return np.array([0, 0, 1, 1])
        width, height = generator.uniform(0.3, 1, 2)
        left, top = generator.uniform(0, 1 - width), generator.uniform(0, 1 - height)
        if not 0.5 <= width / height <= 2:
            continue
        part = np.array([left, top, left + width, top + height])
        low, high = np.maximum(objects[:, :2], part[:2]), np.minimum(objects[:, 2:], part[2:])
        shared = np.clip(high - low, 0, None).prod(1)
        overlap = shared / ((objects[:, 2:] - objects[:, :2]).prod(1) + width * height - shared)
        if option == 1 and (overlap < 0.3).any():
            continue
        centers = (objects[:, :2] + objects[:, 2:]) / 2
        if ((centers > part[:2]) & (centers < part[2:])).all(1).any():
            return part


def test_one_sampler_is_chosen_with_equal_probability() -> None:
    part = """max_trials: 1 sampler { min_width: 0.3 max_width: 1 min_height: 0.3 max_height: 1 min_aspect_ratio: 0.5
              max_aspect_ratio: 2 }"""
    samplers = [
        sampler("max_trials: 1"),
        sampler(f"{part} sample_constraint {{ min_jaccard_overlap: 0.3 every_object: true min_objects: 1 }}"),
        sampler(f"{part} sample_constraint {{ min_objects: 1 }}"),
    ]
    objects = np.array([[0.1, 0.1, 0.9, 0.8], [0.2, 0.2, 0.9, 0.9]], np.float32)
    generator, count = np.random.default_rng(0), 6000
    ours = np.array([draw_sampler(samplers, objects, generator) for _ in range(count)])
    theirs = np.array([by_hand(objects, generator) for _ in range(count)])
    whole = [(np.ptp(parts[:, [0, 2]], axis=1) > 0.9999).mean() for parts in (ours, theirs)]
    assert abs(whole[0] - whole[1]) < 0.025 and whole[0] > 0.4
    shares = np.linspace(0.05, 0.45, 5)
    for side in range(4):
        np.testing.assert_allclose(np.quantile(ours[:, side], shares), np.quantile(theirs[:, side], shares), atol=0.03)


def test_every_object_and_enough_of_them() -> None:
    generator = np.random.default_rng(0)
    parts = sampler(RANGES).boxes(generator)
    every = "sample_constraint { min_object_coverage: 0.5 every_object: true }"
    covered = coverage(OBJECTS, parts).T
    np.testing.assert_array_equal(sampler(RANGES + every).chosen(parts, OBJECTS), parts[(covered >= 0.5).all(1)])
    centers = np.array([[0.25, 0.3], [0.75, 0.7]], np.float32)
    inside = ((centers >= parts[:, None, :2]) & (centers <= parts[:, None, 2:])).all(2).sum(1)
    for least in (1, 2):
        chosen = sampler(RANGES + f"sample_constraint {{ min_objects: {least} }}").chosen(parts, OBJECTS)
        np.testing.assert_array_equal(chosen, parts[inside >= least])


def test_equal_choice_that_never_finds() -> None:
    generator = np.random.default_rng(0)
    impossible = sampler("sample_constraint { min_jaccard_overlap: 1.5 }")
    assert draw_sampler([impossible], OBJECTS, generator) is None
    assert draw_sampler([], OBJECTS, generator) is None
    part = draw_sampler([impossible, sampler(RANGES)], OBJECTS, generator)
    assert part is not None and part.shape == (4,)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("min_width: 0", "0 < min_width <= max_width <= 1"),
        ("min_height: 0.5 max_height: 0.2", "0 < min_height <= max_height <= 1"),
        ("min_width: 0.5 min_scale: 0.5", "give one of them"),
        ("min_width: 0.5 min_aspect_ratio: 2 max_aspect_ratio: 1", "min_aspect_ratio <= max_aspect_ratio"),
    ],
)
def test_impossible_sides(fields: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        sampler(f"sampler {{ {fields} }}")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("sample_constraint { every_object: true }", "every_object needs a limit that every object has to keep"),
        ("max_trials: 4294967295", "max_trials must be at most 100,000"),
    ],
)
def test_what_could_have_no_effect_and_no_end(fields: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        sampler(fields)
