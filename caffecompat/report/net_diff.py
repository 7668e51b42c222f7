"""Two nets compared: their prototxts, the shapes of their blobs, and their weights."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from caffecompat.arguments import as_count, as_size
from caffecompat.errors import CaffeCompatError
from caffecompat.forks import ForkName
from caffecompat.python_code import looking_at_nets
from caffecompat.report.net_comparison import (
    BlobDifference,
    Measured,
    ShapeReport,
    WeightsReport,
    compare_blobs,
    compare_shapes,
    compare_weights,
    differs_by_phase,
    measure,
    try_measure,
)
from caffecompat.schema import NetDocument, NetSource, as_document, as_phase
from caffecompat.schema.diff import NetDiff, diff_documents

__all__ = ["NetComparison", "diff_nets"]


@dataclass
class NetComparison:
    """What differs between two nets, A and B.

    Attributes:
        a, b: the nets.
        diff: what differs between their prototxts: `fields` of the nets, `layers`, `blocks` of layers, `renamed`.
        shapes: of blobs, a report for each phase in which both nets build.
        weights: which layers of B get their weights from a caffemodel of A; None where no phase builds.
        blobs: how far the parameter blobs are apart; None where not both weights were given.
        notes: why a net was not built, and which Python layers were passed over.
        measured: both nets, as built for the phase with the most layers; None where none was.
    """

    a: NetDocument
    b: NetDocument
    diff: NetDiff
    shapes: list[ShapeReport] = field(default_factory=list)
    weights: WeightsReport | None = None
    blobs: list[BlobDifference] | None = None
    notes: list[str] = field(default_factory=list)
    measured: tuple[Measured, Measured] | None = None

    @property
    def differs(self) -> bool:
        """Whether anything is not the same: text, shapes, or values of weights."""
        changed = not self.diff.empty or any(report.changes for report in self.shapes)
        return changed or any(blob.largest != 0 for blob in self.blobs or ())


def diff_nets(
    a: NetSource,
    b: NetSource,
    phase: int | str | None = None,
    *,
    weights: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    fork: ForkName | None = None,
) -> NetComparison:
    """Compare two nets by meaning: order, comments, written-out defaults and the age of the format do not count.

    Both are built, without their data where that is not here, in each phase in which both can be.

    Args:
        a, b: paths of prototxts, or nets that were read.
        phase: the layers of "TRAIN" or "TEST" alone.
        weights: a file of A: which of its layers load into B; or a file of each: which blobs differ, and how far.
        size: (height, width) in pixels of data layers' pictures, where neither data nor text state it.
        channels: of these pictures (3).
        fork: the Caffe whose rules hold in both, where the texts cannot show it.

    Raises:
        CaffeCompatError: a file cannot be read, the phase is unknown, or there are weights and the nets do not build.

    >>> import caffecompat
    >>> net = caffecompat.read_net("deploy.prototxt")
    >>> net.layer[2].inner_product_param.num_output = 3
    >>> found = caffecompat.diff_nets("deploy.prototxt", net)
    >>> (found.differs, [(layer.b.name, layer.kind) for layer in found.diff.layers if layer.kind != "same"])
    (True, [('fc', 'changed')])
    >>> [(change.blob, change.a, change.b) for change in found.shapes[0].changes]
    [('fc', (1, 2), (1, 3)), ('prob', (1, 2), (1, 3))]
    """
    files = [os.fspath(path) for path in ([weights] if isinstance(weights, (str, os.PathLike)) else weights)]
    if len(files) > 2:
        raise CaffeCompatError(f"weights are those of A, or of A and B; these are {len(files)}")
    size, channels = as_size(size), as_count(channels, "channels")
    documents = as_document(a, fork=fork), as_document(b, fork=fork)
    chosen = None if phase is None else as_phase(phase)
    found = NetComparison(*documents, diff_documents(*documents, chosen))
    with looking_at_nets(size, channels) as opaque:
        _build_both(found, [0, 1] if chosen is None else [chosen], files, size, channels)
    found.notes += opaque.lines()
    return found


def _build_both(
    found: NetComparison, phases: list[int], files: list[str], size: tuple[int, int] | None, channels: int | None
) -> None:
    """Build both nets, in each phase in which both can be built, and compare shapes and weights."""
    failures = []
    alike = not any(map(differs_by_phase, (found.a, found.b)))
    for each in phases[:1] if alike else phases:
        sides = [try_measure(document, each, size, channels) for document in (found.a, found.b)]
        first, second = sides
        if isinstance(first, str) or isinstance(second, str):
            failures += [
                f"{'TRAIN' if each == 0 else 'TEST'}: {name} not built: {side}"
                for name, side in zip("AB", sides, strict=True)
                if isinstance(side, str)
            ]
            continue
        report = compare_shapes(found.diff, first, second)
        if found.shapes and found.shapes[-1].changes == report.changes:
            found.shapes[-1].phases.append(each)
        else:
            found.shapes.append(report)
            report.phases = list(phases) if alike else [each]
        if found.measured is None or len(first.blobs) > len(found.measured[0].blobs):
            found.measured = (first, second)
    if found.measured is None:
        found.notes = failures
        if files:
            raise CaffeCompatError("weights are compared between nets that build:\n  " + "\n  ".join(failures))
        return
    phase = found.measured[0].phase
    if files:
        with_values = [measure(d, phase, size, channels, weights=True) for d in (found.a, found.b)]
        found.measured = (with_values[0], with_values[1])
    found.weights = compare_weights(found.diff, *found.measured, *files[:1])
    if len(files) == 2:
        found.blobs = compare_blobs(found.diff, *found.measured, files[0], files[1])
