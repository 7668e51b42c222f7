"""How far two arrays that should be equal are apart, and a table of it; files of weights and folders of blobs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from caffecompat.compare.arrays import count_nonfinite, gaps, magnitude
from caffecompat.errors import CaffeCompatError
from caffecompat.formats.archives import read_blobs
from caffecompat.net.trace import read_traces

__all__ = [
    "ArrayDifference",
    "BlobComparison",
    "compare_arrays",
    "compare_blobs",
    "diff_weights",
    "nonfinite_lines",
    "table_lines",
]

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class ArrayDifference:
    """How far a blob of B is from the one of A.

    Attributes:
        problem: why the two cannot be compared ("only in B", other shapes); then nothing else says anything.
        shape: of A's.
        largest, mean: absolute difference.
        relative: the largest over the largest magnitude in A.
        nonfinite: how many values of each are NaN or infinity; the same at the same place are equal.
        cosine: similarity of the finite values, -1 to 1.
    """

    name: str
    problem: str = ""
    shape: list[int] = field(default_factory=list)
    largest: float = 0.0
    mean: float = 0.0
    relative: float = 0.0
    nonfinite: tuple[int, int] = (0, 0)
    cosine: float = 1.0

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        if self.problem:
            return {"name": self.name, "problem": self.problem}
        row = asdict(self)
        del row["problem"]
        return {**row, "nonfinite": list(self.nonfinite)}


@dataclass(frozen=True)
class BlobComparison:
    """Blobs of two sides by name.

    Attributes:
        blobs: of both.
        alone: by side, as it was given, the names that the other has not.
    """

    blobs: list[ArrayDifference]
    alone: dict[str, list[str]]

    def over(self, tolerance: float) -> list[str]:
        """Names of the blobs that differ by more than that share of the largest magnitude in A's."""
        return [blob.name for blob in self.blobs if blob.problem or not blob.relative <= tolerance]


def compare_blobs(first: PathLike, second: PathLike) -> BlobComparison:
    """Compare two folders of blobs, as `dump_blobs` writes them or a TIDL board's trace gives them.

    Args:
        first: folder of the reference.
        second: folder of what is held against it.

    Returns:
        The blobs of both in the order of the net's layers. Shapes that differ in axes of size 1 alone are equal.

    Raises:
        CaffeCompatError: there is no such folder, nothing in it, or no name that both have.

    >>> import caffecompat
    >>> for folder in ("desktop", "board"):
    ...     count = caffecompat.dump_blobs("deploy.prototxt", "net.caffemodel", folder, seed=7)
    >>> found = caffecompat.compare_blobs("desktop", "board")
    >>> (len(found.blobs), found.over(1e-4))
    (4, [])
    """
    a, b = read_traces(first, second)
    common = [name for name in a if name in b]
    if not common:
        raise CaffeCompatError(f"{os.fspath(first)} and {os.fspath(second)} have no file name in common")
    alone = {
        os.fspath(folder): [name for name in files if name not in other]
        for folder, files, other in ((first, a, b), (second, b, a))
    }
    return BlobComparison([compare_arrays(name, a[name].read(), b[name].read()) for name in common], alone)


def diff_weights(a: PathLike, b: PathLike) -> list[ArrayDifference]:
    """Compare two files of weights blob by blob: .caffemodel, .h5, .safetensors or .npz.

    Args:
        a, b: paths of the files.

    Returns:
        A difference for each blob, named LAYER.INDEX, or with a problem for a layer that one file alone has.

    Raises:
        CaffeCompatError: a file cannot be read.

    >>> import caffecompat
    >>> [(blob.name, blob.largest) for blob in caffecompat.diff_weights("net.caffemodel", "net.caffemodel")]
    [('conv.0', 0.0), ('conv.1', 0.0), ('fc.0', 0.0)]
    """
    first, second = read_blobs(a), read_blobs(b)
    rows: list[ArrayDifference] = []
    for layer in dict.fromkeys([*first, *second]):
        if layer not in first or layer not in second:
            rows.append(ArrayDifference(layer, f"only in {os.fspath(a if layer in first else b)}"))
            continue
        ours, theirs = first[layer], second[layer]
        if len(ours) != len(theirs):
            rows.append(ArrayDifference(layer, f"{len(ours)} blobs and {len(theirs)}"))
            continue
        rows += [compare_arrays(f"{layer}.{i}", x, y) for i, (x, y) in enumerate(zip(ours, theirs, strict=True))]
    return rows


def compare_arrays(name: str, a: np.ndarray, b: np.ndarray) -> ArrayDifference:
    """How far two arrays are apart; a problem where the shapes hold different counts of values.

    Shapes that differ in axes of size 1 alone count as equal, NaN and infinity with the same at the same place. Sums
    are in double precision.
    """
    if [size for size in a.shape if size != 1] != [size for size in b.shape if size != 1]:
        return ArrayDifference(name, f"shapes {_shape(a)} and {_shape(b)}")
    x, y = np.asarray(a, np.float64).reshape(-1), np.asarray(b, np.float64).reshape(-1)
    apart, greatest = gaps(y, x), magnitude(x)
    largest = float(apart.max(initial=0.0))
    finite = np.isfinite(x) & np.isfinite(y)
    norms = float(np.linalg.norm(x[finite]) * np.linalg.norm(y[finite]))
    return ArrayDifference(
        name,
        shape=list(a.shape),
        largest=largest,
        mean=float(apart.mean()) if apart.size else 0.0,
        relative=largest / greatest if greatest else (0.0 if largest == 0 else float("inf")),
        nonfinite=(count_nonfinite(x), count_nonfinite(y)),
        cosine=float(x[finite] @ y[finite]) / norms if norms else (1.0 if largest == 0 else 0.0),
    )


def table_lines(rows: Sequence[ArrayDifference]) -> list[str]:
    """The differences as an aligned table."""
    names = max(4, *(len(row.name) for row in rows))
    shapes = max([5, *(len("x".join(map(str, row.shape))) for row in rows if not row.problem)])
    lines = [f"{'blob':<{names}}  {'shape':<{shapes}}  {'largest':>10}  {'mean':>10}  {'relative':>10}  cosine"]
    for row in rows:
        if row.problem:
            lines.append(f"{row.name:<{names}}  ! {row.problem}")
            continue
        shape = "x".join(map(str, row.shape))
        values = "  ".join(f"{value:10.3e}" for value in (row.largest, row.mean, row.relative))
        lines.append(f"{row.name:<{names}}  {shape:<{shapes}}  {values}  {row.cosine:.6f}")
    return lines


def nonfinite_lines(rows: Sequence[ArrayDifference]) -> list[str]:
    """A line for each blob with NaN or infinity."""
    lines = []
    for row in rows:
        if any(row.nonfinite):
            where = "the same places" if np.isfinite(row.largest) else "different places"
            lines.append(
                f"warning: {row.name}: {row.nonfinite[0]} values of A and {row.nonfinite[1]} of B are NaN or infinity, "
                f"at {where}"
            )
    return lines


def _shape(blob: np.ndarray) -> str:
    return "x".join(map(str, blob.shape)) or "scalar"
