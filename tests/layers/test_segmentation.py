"""Scores of label maps: counts written out."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caffecompat.forks import Fork
from caffecompat.layers import LayerError
from tests.layers.golden import Replay
from tests.layers.make import make_layer


@settings(max_examples=15, deadline=None)
@given(scale=st.sampled_from([(1, 1), (2, 3)]), seed=st.integers(0, 99))
def test_segment_pixel_iou_counts_every_pixel_but_255(scale: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 3, (2, 4, 3, 2)).astype(np.float32)
    labels = rng.choice([0, 1, 2, 3, 255], (2, 1, 3 * scale[0], 2 * scale[1])).astype(np.float32)
    found = scores.argmax(1).repeat(scale[0], 1).repeat(scale[1], 2).ravel()
    expected = np.zeros((3, 4))
    for truth, guess in zip(labels.ravel().astype(int), found, strict=True):
        if truth == guess:
            expected[0, truth] += 1
        elif truth != 255:
            expected[1, guess] += 1
            expected[2, truth] += 1
    layer = make_layer('type: "SegmentPixelIOU"', scores.shape, labels.shape)
    np.testing.assert_array_equal(layer(torch.from_numpy(scores), torch.from_numpy(labels)), expected)


@pytest.mark.parametrize("case", range(10))
def test_confusion_matrix_has_jacintos_hits_on_its_diagonal(case: int, golden: Path) -> None:
    replay = Replay(golden / "layers_jacinto" / f"SegmentationAccuracy-{case:02}.npz", Fork.JACINTO)
    replay.problems()
    ours, theirs = replay.last["y"][0, 0].numpy(), replay.record["out/y"][0, 0]
    np.testing.assert_array_equal(np.diag(ours), np.diag(theirs))
    labels, p = replay.record["in/label"], replay.net.layer[-1].accuracy_param
    counted = labels[labels != p.ignore_label] if p.HasField("ignore_label") else labels
    np.testing.assert_array_equal(ours.sum(1), [(counted == c).sum() for c in range(len(ours))])


def test_seg_accuracy_goes_on_counting_without_reset() -> None:
    scores = torch.eye(2).reshape(1, 2, 1, 2)  # the first pixel is class 0, the second 1
    right, wrong = torch.tensor([[[[0.0, 1.0]]]]), torch.tensor([[[[1.0, 0.0]]]])
    for reset, second in (("true", 0.0), ("false", 0.5)):
        layer = make_layer(f'type: "SegAccuracy" seg_accuracy_param {{ reset: {reset} }}', (1, 2, 1, 2), (1, 1, 1, 2))
        assert layer(scores, right).flatten().tolist() == [1, 1, 1]
        assert layer(scores, wrong).flatten()[0].item() == second


@pytest.mark.parametrize("strange", [4, 77, -1, math.nan])
def test_labels_that_are_no_class(strange: float) -> None:
    """They are wrong for the share of pixels, and part of no class."""
    torch.manual_seed(1)
    scores, labels = torch.randn(2, 4, 3, 3), torch.randint(0, 4, (2, 1, 3, 3)).float()
    void = labels.clone()
    void[0, 0, 1] = 255
    for kind in ("SegmentPixelIOU", "SegmentationAccuracy", "IOUAccuracy", "SegAccuracy"):
        settings = "seg_accuracy_param { ignore_label: 255 }" if kind == "SegAccuracy" else ""
        layer = make_layer(f'type: "{kind}" {settings}', scores.shape, labels.shape)
        without, labels_here = layer(scores, void), void.masked_fill(void == 255, strange)
        got = layer(scores, labels_here)
        if kind == "SegAccuracy":
            torch.testing.assert_close(got.flatten()[1:], without.flatten()[1:])
            assert got.flatten()[0].item() == pytest.approx(without.flatten()[0].item() * 15 / 18)
        else:
            torch.testing.assert_close(got, without)


TWO_MAPS = (2, 5, 6, 7), (2, 1, 6, 7)


def test_iou_accuracy_pixel_by_pixel() -> None:
    torch.manual_seed(3)
    scores, labels = torch.randn(2, 5, 6, 7), torch.randint(-1, 7, (2, 1, 6, 7)).float()
    labels[labels == 3] = 1  # class 3 occurs in neither
    scores[:, 3] = -9
    layer = make_layer('type: "IOUAccuracy" top: "mean" top: "each" accuracy_param { ignore_label: 0 }', *TWO_MAPS)
    mean, each = layer(scores, labels)
    pairs = [
        (int(t), int(f)) for t, f in zip(labels.flatten(), scores.argmax(1).flatten(), strict=True) if 0 < int(t) < 5
    ]
    expected = []
    for c in range(5):
        union = sum(c in pair for pair in pairs)
        expected.append(sum(pair == (c, c) for pair in pairs) / union if union else 0)
    assert each.tolist() == pytest.approx(expected)
    assert mean.shape == (1,) and mean.item() == pytest.approx(sum(expected) / 4)
    alone = make_layer('type: "IOUAccuracy" accuracy_param { ignore_label: 0 }', *TWO_MAPS)
    assert torch.equal(alone(scores, labels), mean)  # and nothing is left over from a batch before
    assert torch.equal(alone(scores, labels), mean)


@pytest.mark.parametrize(
    ("text", "shapes", "words"),
    [
        ('type: "SegmentPixelIOU"', [(2, 3, 4, 4), (2, 2, 4, 4)], "one map an item"),
        ('type: "SegmentPixelIOU"', [(2, 3), (2, 1)], r"'b0' has shape \(2, 3\)"),
        ('type: "SegAccuracy"', [(1, 2, 3, 3), (1, 1, 2, 3)], "6 labels"),
        ('type: "SegmentationAccuracy" accuracy_param { top_k: 5 }', [(1, 2, 3, 3), (1, 1, 3, 3)], "top_k 5"),
    ],
)
def test_refusals(text: str, shapes: list[tuple[int, ...]], words: str) -> None:
    with pytest.raises(LayerError, match=words):
        make_layer(text, *shapes)
