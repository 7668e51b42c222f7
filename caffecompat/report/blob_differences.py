"""How far two arrays that should be equal are apart, and a table of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["compare_blobs", "table_lines"]


def compare_blobs(name: str, a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    """A row: name, shape, largest and mean absolute difference, relative (largest over the largest magnitude of `a`),
    cosine similarity; or name and problem where the shapes hold different counts of values.

    Shapes that differ in axes of size 1 alone count as equal. Sums are in double precision.
    """
    if [size for size in a.shape if size != 1] != [size for size in b.shape if size != 1]:
        return {"name": name, "problem": f"shapes {_shape(a)} and {_shape(b)}"}
    x, y = np.asarray(a, np.float64).reshape(-1), np.asarray(b, np.float64).reshape(-1)
    apart = np.abs(x - y)
    apart[(x == y) | (np.isnan(x) & np.isnan(y))] = 0  # infinities of one sign, and what is no number in both
    largest = float(apart.max()) if apart.size else 0.0
    greatest = float(np.abs(x).max()) if x.size else 0.0
    norms = float(np.linalg.norm(x) * np.linalg.norm(y))
    return {
        "name": name,
        "shape": list(a.shape),
        "largest": largest,
        "mean": float(apart.mean()) if apart.size else 0.0,
        "relative": largest / greatest if greatest else (0.0 if largest == 0 else float("inf")),
        "cosine": float(x @ y) / norms if norms else (1.0 if largest == 0 else 0.0),
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


def _shape(blob: np.ndarray) -> str:
    return "x".join(map(str, blob.shape)) or "scalar"
