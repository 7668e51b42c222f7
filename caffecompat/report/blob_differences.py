"""How far two arrays that should be equal are apart, and a table of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from caffecompat.compare.arrays import count_nonfinite, gaps, magnitude

__all__ = ["compare_blobs", "nonfinite_lines", "table_lines"]


def compare_blobs(name: str, a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    """A row: name, shape, largest and mean absolute difference, relative (largest over the largest magnitude of `a`),
    how many values of each are NaN or infinity, cosine similarity of the finite ones; or name and problem where the
    shapes hold different counts of values.

    Shapes that differ in axes of size 1 alone count as equal, NaN and infinity with the same at the same place. Sums
    are in double precision.
    """
    if [size for size in a.shape if size != 1] != [size for size in b.shape if size != 1]:
        return {"name": name, "problem": f"shapes {_shape(a)} and {_shape(b)}"}
    x, y = np.asarray(a, np.float64).reshape(-1), np.asarray(b, np.float64).reshape(-1)
    apart, greatest = gaps(y, x), magnitude(x)
    largest = float(apart.max(initial=0.0))
    finite = np.isfinite(x) & np.isfinite(y)
    norms = float(np.linalg.norm(x[finite]) * np.linalg.norm(y[finite]))
    return {
        "name": name,
        "shape": list(a.shape),
        "largest": largest,
        "mean": float(apart.mean()) if apart.size else 0.0,
        "relative": largest / greatest if greatest else (0.0 if largest == 0 else float("inf")),
        "nonfinite": [count_nonfinite(x), count_nonfinite(y)],
        "cosine": float(x[finite] @ y[finite]) / norms if norms else (1.0 if largest == 0 else 0.0),
    }


def table_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The rows of `compare_blobs` as an aligned table."""
    names = max(4, *(len(row["name"]) for row in rows))
    shapes = max([5, *(len("x".join(map(str, row["shape"]))) for row in rows if "shape" in row)])
    lines = [f"{'blob':<{names}}  {'shape':<{shapes}}  {'largest':>10}  {'mean':>10}  {'relative':>10}  cosine"]
    for row in rows:
        if "problem" in row:
            lines.append(f"{row['name']:<{names}}  ! {row['problem']}")
            continue
        shape = "x".join(map(str, row["shape"]))
        values = "  ".join(f"{row[key]:10.3e}" for key in ("largest", "mean", "relative"))
        lines.append(f"{row['name']:<{names}}  {shape:<{shapes}}  {values}  {row['cosine']:.6f}")
    return lines


def nonfinite_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each row with NaN or infinity."""
    lines = []
    for row in rows:
        counts = row.get("nonfinite", (0, 0))
        if any(counts):
            where = "the same places" if np.isfinite(row["largest"]) else "different places"
            lines.append(
                f"warning: {row['name']}: {counts[0]} values of A and {counts[1]} of B are NaN or infinity, at {where}"
            )
    return lines


def _shape(blob: np.ndarray) -> str:
    return "x".join(map(str, blob.shape)) or "scalar"
