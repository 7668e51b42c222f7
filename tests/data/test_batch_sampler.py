from __future__ import annotations

import numpy as np
import pytest

from caffecompat.data import DataError
from caffecompat.data.batch_sampler import BatchSampler, pick_sample
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
    chosen = one.chosen(boxes, jaccard(boxes, OBJECTS))
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
