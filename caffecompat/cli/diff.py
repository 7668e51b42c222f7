"""What changed between two prototxts, nets or solvers: meaning against meaning, not line against line.

    caffecompat diff train_val_encoder.prototxt train_val.prototxt
    caffecompat diff old/deploy.prototxt new/deploy.prototxt --weights old.caffemodel,new.caffemodel
    caffecompat diff A B --html diff.html

Order, comments, written-out defaults and the age of the format do not count. A layer of another name in the same
place is a rename. The exit status is 0 where nothing differs, 1 where something does.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from caffecompat.cli.flags import UsageError, add_switch, split_commas
from caffecompat.cli.picture_flags import size_of

if TYPE_CHECKING:
    from caffecompat.report.net_comparison import BlobDifference, Measured, ShapeReport, WeightsReport
    from caffecompat.schema import NetDocument
    from caffecompat.schema.diff import NetDiff

HELP = "what changed between two nets, or two solvers"

_PHASES = {"TRAIN": 0, "TEST": 1}


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A", help="a prototxt: net or solver")
    parser.add_argument("b", metavar="B", help="another of the same kind")
    parser.add_argument("--weights", default="", metavar="WA[,WB]",
                        help="weights of A: which load into B; and of B: which blobs differ, and how far")  # fmt: skip
    parser.add_argument("--phase", default="", metavar="PHASE", help="the layers of TRAIN or TEST alone")
    parser.add_argument("--size", metavar="WxH", help="of the pictures of data layers, where neither data nor text say")
    parser.add_argument("--channels", type=int, metavar="N", help="of these pictures (3)")
    add_switch(parser, "json", "one JSON object instead of the text")
    parser.add_argument("--html", metavar="FILE", help="also write a page with both nets side by side")
    add_switch(parser, "all", "every layer's name in the text, however many")


@dataclass
class _Findings:
    """What building both nets tells besides the prototxts."""

    shapes: list[ShapeReport] = field(default_factory=list)
    weights: WeightsReport | None = None
    blobs: list[BlobDifference] | None = None
    notes: list[str] = field(default_factory=list)
    measured: tuple[Measured, Measured] | None = None


def run(args: argparse.Namespace) -> int:
    if args.phase and args.phase.upper() not in _PHASES:
        raise UsageError(f"caffecompat diff: --phase {args.phase}: expected TRAIN or TEST")
    from caffecompat.schema import kind_of

    kinds = kind_of(args.a), kind_of(args.b)
    if kinds[0] != kinds[1]:
        raise UsageError(f"caffecompat diff: {args.a} is a {kinds[0]}, {args.b} is a {kinds[1]}; give two of one kind")
    if kinds[0] == "solver":
        if args.html or args.weights:
            raise UsageError("caffecompat diff: --html and --weights are for nets; these are solvers")
        return _diff_solvers(args)
    return _diff_nets(args)


# ------------------------------------------------------------------------------------------------ solvers


def _diff_solvers(args: argparse.Namespace) -> int:
    from caffecompat.cli.diff_text import Painter, field_lines
    from caffecompat.schema import open_solver
    from caffecompat.schema.diff import diff_solvers

    a, b = open_solver(args.a)[0], open_solver(args.b)[0]
    changes = diff_solvers(a, b)
    nets = _nets_of(a, args.a), _nets_of(b, args.b)
    offers = [f"caffecompat diff {x} {y}" for x, y in zip(*nets, strict=False) if x != y]
    if args.json:
        print(json.dumps({"kind": "solver", "fields": [asdict(c) for c in changes], "nets": offers}, indent=1))
        return 1 if changes else 0
    paint = Painter()
    print("\n".join([paint("head", f"solvers {args.a} and {args.b}"), *field_lines(changes, paint)]))
    if not changes:
        print("  no difference")
    for offer in offers:
        print(f"for the nets they name: {offer}")
    return 1 if changes else 0


def _nets_of(solver: Any, path: str) -> list[str]:
    from caffecompat.paths import find_file

    found = []
    for net in filter(None, (solver.net, solver.train_net, *solver.test_net)):
        file = find_file(net, path)
        beside = os.path.join(os.path.dirname(path), os.path.basename(net))  # where others' absolute paths ended up
        found.append(file if os.path.exists(file) or not os.path.exists(beside) else beside)
    return found


# ------------------------------------------------------------------------------------------------ nets


def _diff_nets(args: argparse.Namespace) -> int:
    from caffecompat.schema import open_net
    from caffecompat.schema.diff import diff_nets

    a, b = open_net(args.a), open_net(args.b)
    phase = _PHASES[args.phase.upper()] if args.phase else None
    diff = diff_nets(a, b, phase)
    found = _look_closer(args, a, b, diff)
    differs = not diff.empty or any(report.changes for report in found.shapes)
    differs = differs or any(blob.largest != 0 for blob in found.blobs or ())
    if args.html:
        from caffecompat.formats.atomic import atomic_write
        from caffecompat.report.net_diff_page import diff_page

        lines = _text(args, a, b, diff, found, differs, plain=True)
        with atomic_write(args.html) as file:
            file.write(diff_page(os.fspath(args.a), os.fspath(args.b), diff, lines, found.measured).encode())
    if args.json:
        print(json.dumps(_as_json(diff, found, differs), indent=1))
    else:
        print("\n".join(_text(args, a, b, diff, found, differs)))
        if args.html:
            print(f"wrote {args.html}")
    return 1 if differs else 0


def _look_closer(args: argparse.Namespace, a: NetDocument, b: NetDocument, diff: NetDiff) -> _Findings:
    """Build both nets, in each phase in which both can be built, and compare shapes and weights."""
    from caffecompat.report.net_comparison import compare_blobs, compare_shapes, compare_weights, try_measure

    files = split_commas(args.weights)
    if len(files) > 2:
        raise UsageError(f"caffecompat diff: --weights takes the weights of A, or of A and B; these are {len(files)}")
    found = _Findings()
    failures = []
    for each in [_PHASES[args.phase.upper()]] if args.phase else [0, 1]:
        sides = [try_measure(document, each, size_of(args), args.channels) for document in (a, b)]
        first, second = sides
        if isinstance(first, str) or isinstance(second, str):
            failures += [
                f"{'TRAIN' if each == 0 else 'TEST'}: {name} not built: {side}"
                for name, side in zip("AB", sides, strict=True)
                if isinstance(side, str)
            ]
            continue
        report = compare_shapes(diff, first, second)
        if found.shapes and found.shapes[-1].changes == report.changes:
            found.shapes[-1].phases.append(each)
        else:
            found.shapes.append(report)
        if found.measured is None or len(first.blobs) > len(found.measured[0].blobs):
            found.measured = (first, second)
    if found.measured is None:
        found.notes = failures
        if files:
            raise UsageError("caffecompat diff: --weights needs nets that build:\n  " + "\n  ".join(failures))
    else:
        found.weights = compare_weights(diff, *found.measured, *files[:1])
        if len(files) == 2:
            found.blobs = compare_blobs(diff, *found.measured, files[0], files[1])
    return found


def _text(
    args: argparse.Namespace, a: NetDocument, b: NetDocument, diff: NetDiff, found: _Findings, differs: bool,
    plain: bool = False,
) -> list[str]:  # fmt: skip
    from caffecompat.cli.diff_text import Painter, blob_lines, field_lines, layer_lines, shape_lines, weight_lines

    paint = Painter()
    paint.on = paint.on and not plain
    counts = f"{len(a.message.layer)} and {len(b.message.layer)} layers, {sum(1 for _ in diff.pairs)} in both"
    lines = [paint("head", f"A {args.a}"), paint("head", f"B {args.b}"), f"  {counts}"]
    if not differs:
        lines.append("  no difference")
    lines += [*field_lines(diff.fields, paint), *layer_lines(diff, paint, args.all)]
    if a.dialect != b.dialect:
        lines.append(f"  ! read by the rules of different forks: A {a.dialect}, B {b.dialect}")
    if found.shapes and differs:
        lines.append(paint("head", "shapes"))
        lines += [line for report in found.shapes for line in shape_lines(report, args.all)]
    if found.weights and (differs or args.weights):
        lines.append(paint("head", "weights"))
        lines += weight_lines(found.weights, args.all)
    if found.blobs is not None:
        lines += blob_lines(found.blobs, args.all)
    return lines + [f"  note: {note}" for note in found.notes if differs]


def _as_json(diff: NetDiff, found: _Findings, differs: bool) -> dict[str, Any]:
    layers = []
    for row in diff.layers:
        if row.kind == "same":
            continue
        layers.append({
            "kind": row.kind,
            "a": row.a and row.a.name,
            "b": row.b and row.b.name,
            "type": (row.b or row.a).type,  # type: ignore[union-attr]
            "renamed": row.renamed,
            "changes": [asdict(change) for change in row.changes],
            "rewired": row.rewired and {"a": row.rewired[0], "b": row.rewired[1]},
        })  # fmt: skip
    blocks = [
        {
            "kind": "added" if block.added else "removed",
            "layers": [layer.name for layer in block.layers],
            "types": dict(block.types),
            "behind": block.behind,
            "before": block.before,
            "decoder": block.is_decoder,
        }
        for block in diff.blocks
    ]
    phases = {0: "TRAIN", 1: "TEST"}
    return {
        "kind": "net",
        "differs": differs,
        "fields": [asdict(change) for change in diff.fields],
        "layers": layers,
        "blocks": blocks,
        "shapes": [
            {"phases": [phases[p] for p in report.phases], "changes": [asdict(change) for change in report.changes]}
            for report in found.shapes
        ],
        "weights": found.weights and asdict(found.weights),
        "blobs": found.blobs and [_finite(asdict(blob)) for blob in found.blobs],
        "notes": found.notes,
    }


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no infinity."""
    return {**row, "relative": None if row["relative"] == float("inf") else row["relative"]}
