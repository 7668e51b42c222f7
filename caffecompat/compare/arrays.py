"""How far apart two arrays of one shape are, element by element; all that compares numbers uses these gaps.

NaN and infinity agree with the same value at the same place alone; against anything else they are infinitely far off.
"""

from __future__ import annotations

import numpy as np

__all__ = ["count_nonfinite", "gaps", "magnitude"]


def gaps(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Absolute differences in float64: 0 where both are equal or both NaN, infinity where one alone is not finite.

    >>> gaps(np.array([1.0, np.nan, np.inf, np.nan]), np.array([1.5, np.nan, np.inf, 0.0]))
    array([0.5, 0. , 0. , inf])
    """
    found, wanted = np.asarray(found), np.asarray(wanted)
    same = (found == wanted) | (np.isnan(found) & np.isnan(wanted))
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(np.subtract(found, wanted, dtype=np.float64))
    apart = np.where(np.isnan(apart), np.inf, apart)
    return np.where(same, 0.0, apart)


def magnitude(values: np.ndarray) -> float:
    """The largest finite absolute value, 0 where there is none; -FLT_MAX, Caffe's maximum of nothing, is no measure."""
    sizes = np.abs(np.asarray(values, np.float64))
    return float(sizes[sizes < 1e38].max(initial=0.0))


def count_nonfinite(values: np.ndarray) -> int:
    """How many values are NaN or infinity."""
    return int(values.size - np.isfinite(values).sum())
