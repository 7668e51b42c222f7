"""A comparison of two nets, or two solvers, for a terminal: what changed, on about one screen."""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from caffecompat.schema.diff import Block, LayerDiff, NetDiff
from caffecompat.schema.diff_fields import FieldChange

if TYPE_CHECKING:
    from caffecompat.report.net_comparison import BlobDifference, ShapeReport, WeightsReport

__all__ = ["Painter", "blob_lines", "block_text", "field_lines", "layer_lines", "shape_lines", "weight_lines"]

_COLOURS = {"added": "32", "removed": "31", "changed": "33", "renamed": "36", "moved": "35", "head": "1"}
_SHOWN = 6  # names or lines of a kind before "and N more"


class Painter:
    """Colours for a terminal that wants them; none for a file, and none where NO_COLOR is set."""

    def __init__(self) -> None:
        self.on = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def __call__(self, kind: str, text: str) -> str:
        return f"\033[{_COLOURS[kind]}m{text}\033[0m" if self.on else text


def _few(names: Sequence[str], all_of_them: bool = False) -> str:
    shown = (
        list(names) if all_of_them or len(names) <= _SHOWN + 1 else [*names[:_SHOWN], f"and {len(names) - _SHOWN} more"]
    )
    return ", ".join(shown)


def _layers(count: int) -> str:
    return f"{count} layer{'s' if count != 1 else ''}"


def _value(value: str | None) -> str:
    return "(not set)" if value is None else value


def _change(change: FieldChange) -> str:
    return f"{change.path}: {_value(change.a)} -> {_value(change.b)}"


def field_lines(changes: Iterable[FieldChange], paint: Painter) -> list[str]:
    """A line a field."""
    return [paint("changed", f"  ~ {_change(change)}") for change in changes]


def block_text(block: Block) -> str:
    """A block of layers that only one net has, in a line."""
    names = [layer.name for layer in block.layers]
    verb = "added" if block.added else "removed"
    place = ", ".join(
        f"{word} {_few(around)}" for word, around in (("behind", block.behind), ("before", block.before)) if around
    )
    if len(names) == 1:
        return f"{block.layers[0].type} {verb}: {names[0]}" + (f" ({place})" if place else "")
    what = f"decoder {verb}" if block.is_decoder else verb
    kinds = ", ".join(f"{count} {kind}" for kind, count in block.types[:5])
    rest = sum(count for _, count in block.types[5:])
    kinds += f", {rest} of other types" if rest else ""
    return (
        f"{what}: {_layers(len(names))} from {names[0]} to {names[-1]}" + (f", {place}" if place else "") + f": {kinds}"
    )


def layer_lines(diff: NetDiff, paint: Painter, everything: bool) -> list[str]:
    """Blocks, renames, moves, wiring and fields; what holds of many layers is told once, with how many."""
    lines = _block_lines(diff.blocks, paint, everything)
    renamed = [f"{row.a.name} -> {row.b.name}" for row in diff.renamed if row.a and row.b]
    if renamed:
        lines.append(paint("renamed", f"  = renamed {_layers(len(renamed))}: {_few(renamed, everything)}"))
    for row in diff.of_kind("moved"):
        lines.append(paint("moved", f"  > {_name(row)} moved: {_wiring(row)}"))
    rewired = [row for row in diff.layers if row.rewired and not row.moved]
    shown = rewired if everything or len(rewired) <= _SHOWN + 1 else rewired[:_SHOWN]
    lines += [paint("changed", f"  ~ {_name(row)} rewired: {_wiring(row)}") for row in shown]
    if len(shown) < len(rewired):
        lines.append(paint("changed", f"  ~ and {len(rewired) - len(shown)} more layers rewired"))
    return lines + _change_lines(diff, paint, everything)


def _block_lines(blocks: Sequence[Block], paint: Painter, everything: bool) -> list[str]:
    alike: dict[tuple[bool, tuple[str, ...]], list[Block]] = defaultdict(list)
    for block in blocks:
        alike[block.added, tuple(layer.type for layer in block.layers)].append(block)
    lines = []
    for (added, kinds), group in alike.items():
        sign, kind = ("+", "added") if added else ("-", "removed")
        if len(group) == 1 or everything:
            texts = [block_text(block) for block in group]
        elif len(kinds) == 1:
            texts = [f"{len(group)} {kinds[0]} {kind}: {_few([block.layers[0].name for block in group])}"]
        else:
            places = [f"{block.layers[0].name} to {block.layers[-1].name}" for block in group]
            texts = [f"{len(group)} times {_few(kinds)} {kind}: {_few(places)}"]
        lines += [paint(kind, f"  {sign} {text}") for text in texts]
    return lines


def _name(row: LayerDiff) -> str:
    layer = row.b or row.a
    assert layer is not None
    return layer.name


def _wiring(row: LayerDiff) -> str:
    old, new = row.rewired or ([], [])
    return f"bottom {', '.join(old) or 'none'} -> {', '.join(new) or 'none'}"


def _change_lines(diff: NetDiff, paint: Painter, everything: bool) -> list[str]:
    same: dict[FieldChange, list[str]] = defaultdict(list)
    for row in diff.layers:
        for change in row.changes:
            same[change].append(_name(row))
    # A field that differs in many ways (a top's name a layer) is told by its path.
    ways: dict[str, list[FieldChange]] = defaultdict(list)
    for change in same:
        ways[change.path].append(change)
    lines = []
    for path, changes in ways.items():
        shown = changes if everything or len(changes) <= _SHOWN + 1 else changes[:_SHOWN]
        for change in shown:
            names = same[change]
            where = names[0] if len(names) == 1 else f"{_layers(len(names))} ({_few(names, everything)})"
            lines.append(paint("changed", f"  ~ {_change(change)}  in {where}"))
        if len(shown) < len(changes):
            rest = changes[len(shown) :]
            count = sum(len(same[change]) for change in rest)
            lines.append(paint("changed", f"  ~ {path}: {len(rest)} other changes in {_layers(count)}"))
    return lines


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def shape_lines(report: ShapeReport, everything: bool) -> list[str]:
    """Where shapes begin to differ, and how many blobs follow."""
    phases = " and ".join("TRAIN" if phase == 0 else "TEST" for phase in report.phases)
    if not report.changes:
        return [f"  {phases}: the blobs of layers in both have the same shapes"]
    if report.batch:
        return [
            f"  {phases}: batch {report.batch[0]} -> {report.batch[1]} in {len(report.changes)} blobs, else the same"
        ]
    told = report.changes if everything else report.roots
    shown = told if everything or len(told) <= _SHOWN + 1 else told[:_SHOWN]
    lines = [f"  {phases}: {change.blob} {_shape(change.a)} -> {_shape(change.b)}" for change in shown]
    rest = len(report.changes) - len(shown)
    return lines + ([f"  {phases}: and {rest} more blobs, most of them because of these"] if rest else [])


def weight_lines(report: WeightsReport, everything: bool) -> list[str]:
    """What loads, what does not and why."""
    count = len(report.loaded) + len(report.misfits) + len(report.fresh)
    share = report.values / report.total if report.total else 1.0
    source = report.file or "a caffemodel of A"
    lines = [
        f"  {source} into B: {len(report.loaded)} of {_layers(count)} load ({report.values:,} values, {share:.1%})"
    ]
    shown = report.misfits if everything else report.misfits[:_SHOWN]
    lines += [f"  does not fit: {text if report.file else f'{name}: {text}'}" for name, text in shown]
    if len(shown) < len(report.misfits):
        lines.append(f"  does not fit: and {len(report.misfits) - len(shown)} more")
    if report.misfits:
        lines.append("  Caffe refuses such a file: rename these layers in B, or pass --skip-mismatched")
    for text, names in (("in B only, start fresh", report.fresh), ("in A only, ignored", report.ignored)):
        if names:
            lines.append(f"  {text}: {_layers(len(names))}: {_few(names, everything)}")
    if report.renamed:
        pairs = [f"{old} -> {new}" for old, new in report.renamed]
        lines.append(f"  would fit but for the name: {_layers(len(pairs))}: {_few(pairs, everything)}")
    return lines


def blob_lines(differences: Sequence[BlobDifference], everything: bool) -> list[str]:
    """How far the weights of both are apart, the farthest first."""
    apart = sorted((d for d in differences if d.largest != 0), key=lambda d: -d.relative)
    lines = [f"  {len(differences) - len(apart)} of {len(differences)} blobs of layers in both are equal"]
    shown = apart if everything else apart[:_SHOWN]
    for d in shown:
        amount = (
            "another shape" if d.largest is None else f"largest difference {d.largest:.3g}, {d.relative:.2%} of A's rms"
        )
        lines.append(f"  {d.layer}[{d.index}]: {amount}")
    if len(shown) < len(apart):
        lines.append(f"  and {len(apart) - len(shown)} more that differ less")
    return lines
