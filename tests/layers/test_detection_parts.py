"""Overlaps, codes, matching and suppression of boxes against the rules applied one box at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caffecompat.layers.detection_matching import Objects, match, read_objects
from caffecompat.layers.detection_scores import AP_VERSIONS, DetectionScores, average_precision
from caffecompat.layers.functional import detection_nms
from caffecompat.layers.functional.detection_boxes import areas, decode_boxes, encode_boxes, jaccard
from caffecompat.layers.functional.detection_nms import non_maximum_suppression
from caffecompat.layers.layer import LayerError
from tests.layers import ssd_by_hand as by_hand


def some_boxes(generator: np.random.Generator, *shape: int, coarse: bool = False) -> torch.Tensor:
    """Boxes that overlap often; `coarse` ones lie on a grid, so that overlaps are equal again and again."""
    center, size = generator.uniform(0, 1, (*shape, 2)), generator.uniform(0.1, 0.5, (*shape, 2))
    if coarse:
        center, size = np.round(center * 6) / 6, np.ceil(size * 4) / 6
    return torch.from_numpy(np.concatenate([center - size / 2, center + size / 2], -1).astype(np.float32))


def test_overlap() -> None:
    a = torch.tensor([[0, 0, 0.5, 0.5], [0.2, 0.2, 0.1, 0.1], [0, 0, 0, 0]])
    assert areas(a).tolist() == [0.25, 0, 0]
    b = torch.tensor([[0.25, 0, 0.75, 0.5], [0.5, 0, 1, 0.5], [0, 0, 0, 0]])
    assert jaccard(a[:, None], b).tolist() == [[pytest.approx(1 / 3), 0, 0], [0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("code", ["CORNER", "CENTER_SIZE", "CORNER_SIZE"])
def test_codes_come_back(code: str) -> None:
    generator = np.random.default_rng(1)
    priors, boxes = some_boxes(generator, 20), some_boxes(generator, 20)
    codes = encode_boxes(code, priors, boxes)
    assert torch.allclose(decode_boxes(code, priors, codes), boxes, atol=1e-5)
    expected = by_hand.decode(code, priors[3].numpy(), codes[4].numpy())
    assert np.allclose(decode_boxes(code, priors[3], codes[4]).numpy(), expected, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0.3, 0.5, 0.0]),
)
def test_matching(seed: int, coarse: bool, per_prediction: bool, crossing: bool, difficult: bool, least: float) -> None:
    generator = np.random.default_rng(seed)
    images, count = 3, int(generator.integers(0, 12))
    boxes = some_boxes(generator, 25, coarse=coarse)
    image = torch.from_numpy(np.sort(generator.integers(0, images, count)))
    hard = torch.from_numpy(generator.random(count) < 0.3)
    objects = Objects(image, torch.ones(count, dtype=torch.int64), some_boxes(generator, count, coarse=coarse), hard)
    found, greatest = match(
        boxes,
        objects,
        image,
        images,
        threshold=least if per_prediction else None,
        ignore_crossing=crossing,
        ignore_difficult=difficult,
    )
    rules = by_hand.Rules(least, per_prediction, crossing, difficult)
    for number in range(images):
        rows = (image == number).nonzero()[:, 0].tolist()
        if not rows:
            continue
        theirs, overlaps = by_hand.match(
            list(boxes.numpy()), [objects.box[row].numpy() for row in rows], [bool(hard[row]) for row in rows], rules
        )
        assert found[number].tolist() == [rows[at] if at >= 0 else at for at in theirs]
        assert np.allclose(greatest[number], overlaps, atol=1e-6)


def test_matching_of_boxes_that_differ_from_group_to_group() -> None:
    boxes = torch.tensor([[[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]], [[0.5, 0.5, 1, 1], [0, 0, 0.5, 0.5]]])
    objects = Objects(
        torch.tensor([0, 1]), torch.tensor([1, 1]), torch.tensor([[0, 0, 0.5, 0.4]] * 2), torch.tensor([False] * 2)
    )
    found, _ = match(boxes, objects, objects.image, 2, threshold=0.5)
    assert found.tolist() == [[0, -1], [-1, 1]]


def test_objects_of_a_label_blob() -> None:
    rows = torch.tensor(
        [[0, 1, 0, 0.1, 0.2, 0.3, 0.4, 0], [-1] * 8, [2, 3, 0, 0, 0, 1, 1, 1], [7, 1, 0, 0, 0, 1, 1, 0]]
    )[None, None]
    objects = read_objects(rows, 3, 0, torch.device("cpu"))
    assert objects.image.tolist() == [0, 2]
    assert objects.label.tolist() == [1, 3]
    assert objects.difficult.tolist() == [False, True]
    assert len(read_objects(rows, 3, 0, torch.device("cpu"), difficult=False)) == 1
    with pytest.raises(LayerError, match="background's class 3"):
        read_objects(rows, 3, 3, torch.device("cpu"))
    with pytest.raises(LayerError, match="8 values"):
        read_objects(rows[..., :7], 3, 0, torch.device("cpu"))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.3, 0.6, 0.9]), st.sampled_from([1.0, 0.9, 0.5]), st.booleans())
def test_suppression(seed: int, threshold: float, eta: float, blocks: bool) -> None:
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, 40, int(generator.integers(1, 6)))
    lists = torch.from_numpy(np.repeat(np.arange(len(lengths)) * 3, lengths))
    boxes = some_boxes(generator, int(lengths.sum()), coarse=bool(generator.integers(2)))
    with pytest.MonkeyPatch.context() as patch:
        if blocks:  # lists longer than a block, and several rounds of lists
            patch.setattr(detection_nms, "_BLOCK", 7)
            patch.setattr(detection_nms, "_PAIRS", 100)
        keep = non_maximum_suppression(boxes, lists, threshold, eta)
    expected = [
        stays
        for part in boxes.split(lengths.tolist())
        for stays in by_hand.suppress(list(part.numpy()), threshold, eta)
    ]
    assert keep.tolist() == expected


def test_suppression_of_nothing() -> None:
    assert non_maximum_suppression(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), 0.5).shape == (0,)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(AP_VERSIONS))
def test_average_precision(seed: int, version: str) -> None:
    generator = np.random.default_rng(seed)
    count = int(generator.integers(1, 30))
    scores = np.round(generator.random(count), 1)
    hits = generator.random(count) < 0.5
    objects = int(hits.sum() + generator.integers(1, 5))
    expected = by_hand.integral(scores.tolist(), hits.tolist(), objects, version)
    assert average_precision(scores, hits, objects, version) == pytest.approx(expected, abs=1e-6)


def test_average_precision_knows_float32() -> None:
    """7 hits of 10 objects: SSD's recall, a float, is less than the 0.7 it is compared with, a double."""
    hits = np.array([True] * 7)
    assert average_precision(np.arange(7.0)[::-1], hits, 10, "11point") == pytest.approx(7 / 11)
    assert average_precision(np.zeros(0), np.zeros(0, bool), 10) == 0
    with pytest.raises(ValueError, match="12point"):
        average_precision(np.ones(1), hits[:1], 1, "12point")


def test_scores_over_batches() -> None:
    scores = DetectionScores()
    scores.add(np.array([[[[-1, 1, 1, -1, -1], [-1, 2, 0, -1, -1], [0, 1, 0.5, 1, 0], [0, 1, 0.9, 0, 0]]]], np.float32))
    scores.add(np.array([[-1, 1, 1, -1, -1], [-1, 2, 0, -1, -1], [0, 1, 0.9, 0, 1]], np.float32))
    assert scores.objects == {1: 2, 2: 0}
    assert scores.average_precisions() == {1: 0.25, 2: None}
    assert scores.mean() == 0.125
