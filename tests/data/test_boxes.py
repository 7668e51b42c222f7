from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from caffecompat.data.boxes import areas, coverage, emitted, intersections, jaccard, mirrored, project
from caffecompat.schema import pb


def boxes(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


ONE = boxes((0.1, 0.1, 0.5, 0.3))
OTHERS = boxes((0.3, 0.2, 0.7, 0.4), (0.6, 0.1, 0.9, 0.3), (0.0, 0.0, 1.0, 1.0), (0.5, 0.1, 0.9, 0.3))


def test_overlaps() -> None:
    np.testing.assert_allclose(areas(boxes((0.1, 0.1, 0.5, 0.3), (0.5, 0.1, 0.1, 0.3))), [0.08, 0], atol=1e-7)
    np.testing.assert_allclose(intersections(ONE, OTHERS), [[0.02, 0, 0.08, 0]], atol=1e-7)
    np.testing.assert_allclose(jaccard(ONE, OTHERS), [[0.02 / 0.14, 0, 0.08, 0]], atol=1e-6)
    np.testing.assert_allclose(coverage(ONE, OTHERS), [[0.25, 0, 1, 0]], atol=1e-6)
    np.testing.assert_allclose(coverage(OTHERS, ONE)[:, 0], [0.25, 0, 0.08, 0], atol=1e-6)


def test_nothing_overlaps_nothing() -> None:
    assert jaccard(boxes(), OTHERS).shape == (0, 4) and jaccard(OTHERS, boxes()).shape == (4, 0)
    empty = boxes((0.2, 0.2, 0.2, 0.2))
    assert jaccard(empty, empty)[0, 0] == 0 and coverage(empty, OTHERS).max() == 0


def test_projection_cuts_off_and_drops() -> None:
    window = np.array([0.25, 0.0, 0.75, 0.5], np.float32)
    projected, visible = project(
        boxes((0.5, 0.25, 1.0, 0.5), (0.75, 0.0, 1.0, 0.5), (0.0, 0.0, 1.0, 1.0), (0.3, 0.1, 0.3, 0.2)), window
    )
    assert visible.tolist() == [True, False, True, False]
    np.testing.assert_allclose(projected[[0, 2]], [[0.5, 0.5, 1, 1], [0, 0, 1, 1]])


def constraint(**fields: Any) -> Any:
    return pb.EmitConstraint(**fields)


def test_what_is_emitted() -> None:
    window = np.array([0.0, 0.0, 0.5, 0.5], np.float32)
    found = boxes((0.3, 0.3, 0.69, 0.69), (0.3, 0.3, 0.71, 0.69), (0.0, 0.0, 0.1, 0.1))
    assert emitted(found, window, constraint()).tolist() == [True, False, True]
    overlap = constraint(emit_type=pb.EmitConstraint.MIN_OVERLAP, emit_overlap=0.25)
    np.testing.assert_allclose(coverage(found, window[None])[:2, 0], [0.04 / 0.1521, 0.04 / 0.1599], rtol=1e-5)
    assert emitted(found, window, overlap).tolist() == [True, True, True]
    overlap.emit_overlap = 0.26
    assert emitted(found, window, overlap).tolist() == [True, False, True]


def test_mirroring() -> None:
    np.testing.assert_allclose(mirrored(ONE), [[0.5, 0.1, 0.9, 0.3]], rtol=1e-6)


@pytest.mark.parametrize("count", [0, 3])
def test_the_given_arrays_stay(count: int) -> None:
    found = np.random.default_rng(0).random((count, 4)).astype(np.float32)
    before = found.copy()
    mirrored(found)
    project(found, np.array([0.2, 0.2, 0.8, 0.8], np.float32))
    np.testing.assert_array_equal(found, before)
