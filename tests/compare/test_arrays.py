"""How far arrays are apart: NaN and infinity agree with themselves at the same place alone."""

from __future__ import annotations

import numpy as np
import pytest

from caffecompat.compare.arrays import count_nonfinite, gaps, magnitude
from caffecompat.deploy.onnx.compare import compare
from caffecompat.report.blob_differences import compare_arrays

NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(
    ("found", "wanted", "apart"),
    [
        (1.0, 1.5, 0.5), (NAN, NAN, 0), (INF, INF, 0), (-INF, -INF, 0), (NAN, 0, INF), (0, NAN, INF), (INF, -INF, INF),
        (NAN, INF, INF), (INF, 3, INF), (3, INF, INF), (-3e38, 3e38, 6e38),
    ],
)  # fmt: skip
def test_gaps(found: float, wanted: float, apart: float) -> None:
    one, other = np.array([found, 1], np.float32), np.array([wanted, 1], np.float32)
    assert gaps(one, other) == pytest.approx([apart, 0])
    assert compare("x", one, other).allowed == (apart == 0)
    row = compare_arrays("x", other, one)
    assert (row.largest == 0) == (apart == 0) and not np.isnan(row.relative)


def test_nan_does_not_hide_a_difference() -> None:
    """Whichever order a maximum goes through them."""
    for values in ([NAN, 1.0], [1.0, NAN]):
        other = [value + 1 if value == 1 else value for value in values]
        assert gaps(np.array(other), np.array(values)).max() == 1
        assert not compare("x", np.array(other), np.array(values)).allowed
        assert compare_arrays("x", np.array(values), np.array(other)).relative == 1


def test_what_is_not_finite_is_no_measure() -> None:
    values = np.array([NAN, INF, -2.0, -np.finfo(np.float32).max])
    assert magnitude(values) == 2 and count_nonfinite(values) == 2
    assert magnitude(np.array([NAN])) == magnitude(np.zeros(0)) == 0
