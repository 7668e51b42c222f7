"""What a comparison of two prototxts leaves open: the shapes of blobs, and which weights of one load into the other.

Nets are built without their data; see ``caffecompat.data.placeholder``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from caffecompat.compare.arrays import gaps
from caffecompat.data.placeholder import Placeholders
from caffecompat.errors import CaffeCompatError
from caffecompat.net import Net
from caffecompat.net.filter import filter_net, make_state
from caffecompat.schema import NetDocument
from caffecompat.schema.diff import NetDiff
from caffecompat.schema.diff_graph import DiffLayer

__all__ = [
    "BlobDifference",
    "Measured",
    "ShapeChange",
    "ShapeReport",
    "WeightsReport",
    "compare_blobs",
    "compare_shapes",
    "compare_weights",
    "differs_by_phase",
    "measure",
    "try_measure",
]

Shape = tuple[int, ...]


@dataclass
class Measured:
    """A net built for one phase.

    Attributes:
        tops: shapes of each layer's tops, by the layer's position in the prototxt.
        blobs: shapes of each layer's parameter blobs, likewise.
    """

    net: Net
    phase: int
    tops: dict[int, list[Shape]] = field(default_factory=dict)
    blobs: dict[int, list[Shape]] = field(default_factory=dict)


def measure(
    document: NetDocument,
    phase: int,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    *,
    weights: bool = False,
) -> Measured:
    """Build a net for one phase, without its data where that is not here.

    Args:
        weights: make it with values in its parameters, so that it can load weights; else it has shapes alone.
        size: (height, width) of the pictures of data layers, instead of what data and prototxt say.
        channels: of these pictures.

    Raises:
        CaffeCompatError: it does not build, or its prototxt does not give the size of its pictures.
    """
    net = Net(document, phase, sources=Placeholders(size, channels), log=False, meta=not weights)
    net.close()
    _, kept, _ = filter_net(document.message, make_state(document.message, phase, None, ()), lambda line: None)
    found = Measured(net, phase)
    for position, layer in zip(kept, net.layers, strict=True):
        found.tops[position] = [net.value_shapes[value] for value in layer.top_values]
        found.blobs[position] = [slot.shape for slot in layer.slots]
    return found


def try_measure(
    document: NetDocument,
    phase: int,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    *,
    weights: bool = False,
) -> Measured | str:
    """What `measure` gives, or in one line why the net does not build."""
    try:
        return measure(document, phase, size, channels, weights=weights)
    except CaffeCompatError as problem:
        return " ".join(str(problem).split())


def differs_by_phase(document: NetDocument) -> bool:
    """Whether any layer is for one phase alone, so that the shapes of TRAIN do not determine those of TEST."""
    return any(layer.include or layer.exclude for layer in document.message.layer)


# ------------------------------------------------------------------------------------------------ shapes


@dataclass(frozen=True)
class ShapeChange:
    """A blob whose shape differs although (for `root`) nothing that it is made of has changed its shape."""

    layer: str
    blob: str
    a: Shape
    b: Shape
    root: bool


@dataclass
class ShapeReport:
    """Shapes that differ in one phase; `batch` is A's and B's where the batch is all that differs anywhere."""

    phases: list[int]
    changes: list[ShapeChange] = field(default_factory=list)
    batch: tuple[int, int] | None = None

    @property
    def roots(self) -> list[ShapeChange]:
        return [change for change in self.changes if change.root]

    def within(self, other: ShapeReport) -> bool:
        """Whether another phase's report lists the same but for the batch."""
        theirs = {(change.layer, change.blob, change.a[1:], change.b[1:]) for change in other.changes}
        return all((change.layer, change.blob, change.a[1:], change.b[1:]) in theirs for change in self.changes)


def compare_shapes(diff: NetDiff, a: Measured, b: Measured) -> ShapeReport:
    """Shapes of the tops of layers that both nets have, in the phase that both were built for."""
    report = ShapeReport([a.phase])
    changed: set[int] = set()
    for row in diff.layers:
        if row.b is None:
            continue
        follows = any(source in changed for source in row.b.sources)
        mine, theirs = ([] if row.a is None else a.tops.get(row.a.position, [])), b.tops.get(row.b.position, [])
        differ = [each for each in zip(row.b.tops, mine, theirs, strict=False) if each[1] != each[2]]
        if differ or (follows and row.a is None):  # a layer of B alone passes on what has changed before it
            changed.add(row.b.index)
        report.changes += [ShapeChange(row.b.name, *each, root=not follows) for each in differ]
    batches = {(change.a[:1], change.b[:1]) for change in report.changes}
    if len(batches) == 1 and all(change.a[1:] == change.b[1:] for change in report.changes):
        ((old, new),) = batches
        report.batch = (old[0], new[0]) if old and new else None
    return report


# ------------------------------------------------------------------------------------------------ weights


@dataclass
class WeightsReport:
    """Which layers of B get their weights from a caffemodel of A, by name and shape as in Caffe.

    Attributes:
        loaded: names of layers that do; `values` how many values these are, `total` how many B has.
        misfits: names with what prevents loading them (Caffe refuses such a file).
        fresh: layers of B with blobs that A has none for.
        ignored: layers of A with blobs that B does not have.
        renamed: (A's name, B's name) of layers that would load under the same name.
        file: what was loaded, or "" where only the prototxts are known.
    """

    loaded: list[str] = field(default_factory=list)
    misfits: list[tuple[str, str]] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    renamed: list[tuple[str, str]] = field(default_factory=list)
    values: int = 0
    total: int = 0
    file: str = ""


def compare_weights(
    diff: NetDiff, a: Measured, b: Measured, file: str | os.PathLike[str] | None = None
) -> WeightsReport:
    """What of A's weights loads into B: by the shapes that both prototxts give, or by loading `file` into B.

    Raises:
        CaffeCompatError: the file cannot be read.
    """
    theirs = {layer.name: [slot.shape for slot in layer.slots] for layer in b.net.layers if layer.slots}
    report = WeightsReport(total=sum(map(_values, theirs.values())))
    if file is not None:
        loading = b.net.load_weights(file, skip_mismatched=True)
        report.file = os.fspath(file)
        report.loaded, report.ignored = loading.loaded, loading.unexpected
        misfits: dict[str, list[str]] = {}
        for text in loading.mismatches:
            misfits.setdefault(_named(text, list(theirs)), []).append(text)
        report.misfits = [
            (name, texts[0] + (f", and {len(texts) - 1} more of its blobs" if len(texts) > 1 else ""))
            for name, texts in misfits.items()
        ]
        report.fresh = [name for name in loading.missing if name not in misfits]
    else:
        mine = {layer.name: [slot.shape for slot in layer.slots] for layer in a.net.layers if layer.slots}
        for name, shapes in theirs.items():
            if name not in mine:
                report.fresh.append(name)
            elif [_dense(shape) for shape in mine[name]] == [_dense(shape) for shape in shapes]:
                report.loaded.append(name)
            else:
                report.misfits.append((name, f"{_shapes(mine[name])} in A, {_shapes(shapes)} in B"))
        report.ignored = [name for name in mine if name not in theirs]
    report.values = sum(_values(theirs[name]) for name in report.loaded)
    report.renamed = [
        (x.name, y.name)
        for x, y in diff.pairs
        if x.name != y.name and a.blobs.get(x.position) and a.blobs.get(x.position) == b.blobs.get(y.position)
    ]
    return report


def _dense(shape: Shape) -> Shape:
    """Axes of one value do not count: files of before mid-2014 have more of them."""
    return tuple(size for size in shape if size != 1)


def _values(shapes: Sequence[Shape]) -> int:
    return sum(math.prod(shape) for shape in shapes)


def _shapes(shapes: Sequence[Shape]) -> str:
    return " and ".join("x".join(map(str, shape)) or "scalar" for shape in shapes) or "no blobs"


def _named(text: str, names: Sequence[str]) -> str:
    return next((name for name in names if text.startswith(f"layer {name!r}")), text)


@dataclass(frozen=True)
class BlobDifference:
    """How far one parameter blob of B is from that of A.

    Attributes:
        largest: greatest absolute difference; None where the shapes differ.
        relative: root of the mean square of the differences, by that of A's values.
    """

    layer: str
    index: int
    largest: float | None
    relative: float


def compare_blobs(diff: NetDiff, a: Measured, b: Measured, file_a: str, file_b: str) -> list[BlobDifference]:
    """Load each net's own weights and compare the blobs of layers that both have; equal ones have a difference of 0.

    Raises:
        CaffeCompatError: a file cannot be read, or does not fit its net.
    """
    a.net.load_weights(file_a)
    b.net.load_weights(file_b)
    mine, theirs = a.net.blobs_by_layer(), b.net.blobs_by_layer()
    found = []
    for x, y in diff.pairs:
        for index, (old, new) in enumerate(zip(mine.get(x.name, []), theirs.get(y.name, []), strict=False)):
            found.append(_difference(y, index, old, new))
    return found


def _difference(layer: DiffLayer, index: int, old: np.ndarray, new: np.ndarray) -> BlobDifference:
    if _dense(old.shape) != _dense(new.shape):
        return BlobDifference(layer.name, index, None, math.inf)
    apart, sizes = gaps(new.reshape(-1), old.reshape(-1)), np.asarray(old, np.float64)
    scale = float(np.sqrt(np.mean(np.square(sizes[np.isfinite(sizes)])))) if np.isfinite(sizes).any() else 0.0
    error = float(np.sqrt(np.mean(np.square(apart)))) if apart.size else 0.0
    return BlobDifference(
        layer.name, index, float(apart.max(initial=0.0)), error / scale if scale else math.inf if error else 0.0
    )
