"""Scores from counts, against counting by hand."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from caffecompat.evaluate import ConfusionMatrix


def test_scores_of_a_small_case() -> None:
    labels = np.array([[0, 0, 0, 1], [1, 1, 255, 255]], np.uint8)
    predictions = np.array([[0, 0, 1, 1], [1, 2, 0, 2]], np.uint8)
    matrix = ConfusionMatrix(5)
    matrix.add(labels, predictions)
    np.testing.assert_array_equal(matrix.counts[:3, :3], [[2, 1, 0], [0, 2, 1], [0, 0, 0]])
    np.testing.assert_allclose(matrix.iou(), [2 / 3, 2 / 4, 0, np.nan, np.nan])
    # Class 2 is predicted and never labeled: it counts by Xilinx' rule; classes 3 and 4 occur nowhere.
    assert matrix.miou() == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert matrix.miou_labeled() == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert matrix.pixel_accuracy() == pytest.approx(4 / 6)
    np.testing.assert_array_equal(matrix.labeled, [3, 3, 0, 0, 0])
    np.testing.assert_array_equal(matrix.predicted, [2, 3, 1, 0, 0])


@given(st.data(), st.integers(2, 20))
def test_counts_equal_a_loop_over_pixels(data: st.DataObject, classes: int) -> None:
    values = st.one_of(st.integers(0, classes - 1), st.sampled_from([255, 254]))
    labels = data.draw(arrays(np.uint8, (3, 4), elements=values))
    predictions = data.draw(arrays(np.uint8, (3, 4), elements=st.integers(0, classes - 1)))
    matrix = ConfusionMatrix(classes, ignore=(255, 254))
    matrix.add(labels, predictions)
    matrix.add(labels, predictions)
    expected = np.zeros((classes, classes), int)
    for label, prediction in zip(labels.ravel(), predictions.ravel(), strict=True):
        if label < 254:
            expected[label, prediction] += 2
    np.testing.assert_array_equal(matrix.counts, expected)


def test_a_label_out_of_range_counts_as_wrong_and_belongs_to_no_class() -> None:
    matrix = ConfusionMatrix(19)
    matrix.add(np.array([[0, 33, 1]], np.uint8), np.array([[0, 0, 0]], np.uint8))
    assert matrix.outside == 1 and matrix.pixel_accuracy() == pytest.approx(1 / 3)
    np.testing.assert_allclose(matrix.iou()[:2], [1 / 2, 0])
    assert re.search("value 33 in 1 pixel; the net has 19 classes .* train ids", matrix.outside_text())
    matrix = ConfusionMatrix(4, ignore=())
    matrix.add(np.array([[7, 255]], np.uint8), np.zeros((1, 2), np.uint8))
    assert re.search("values 7, 255 in 2 pixels; the net has 4 classes .*ignored are nothing", matrix.outside_text())


def test_labels_that_are_no_bytes() -> None:
    matrix = ConfusionMatrix(2, ignore=(-1,))
    matrix.add(np.array([[1.7, -1, -2, 300, np.nan]], np.float32), np.array([[1, 0, 0, 0, 0]]))
    assert matrix.counts.tolist() == [[0, 0], [0, 1]] and matrix.outside == 3
    assert matrix.pixel_accuracy() == pytest.approx(1 / 4)
    many = ConfusionMatrix(300)
    many.add(np.array([[299, 255]], np.int32), np.array([[299, 255]]))
    assert many.counts[299, 299] == 1 and many.counts.sum() == 1


def test_nothing_labeled_gives_no_score() -> None:
    matrix = ConfusionMatrix(3)
    matrix.add(np.full((2, 2), 255, np.uint8), np.zeros((2, 2), np.uint8))
    assert np.isnan([matrix.miou(), matrix.miou_labeled(), matrix.pixel_accuracy(), matrix.chance_miou()]).all()


def test_chance_is_what_guessing_scores() -> None:
    generator = np.random.default_rng(0)
    shares = [0.4, 0.35, 0.25]
    labels = generator.choice(3, 200_000, p=shares).astype(np.uint8)
    guessed = ConfusionMatrix(3)
    guessed.add(labels, generator.choice(3, 200_000, p=shares).astype(np.uint8))
    assert guessed.miou() == pytest.approx(guessed.chance_miou(), abs=0.01)
    lopsided = ConfusionMatrix(2)
    lopsided.add(np.repeat(np.uint8([0, 1]), [99, 1]), np.zeros(100, np.uint8))
    assert lopsided.miou() == pytest.approx(0.495)
    assert lopsided.chance_miou() >= 0.495
