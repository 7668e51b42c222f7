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
from typing import TYPE_CHECKING

from caffecompat.cli.common.flags import COUNT, UsageError, add_switch, split_commas
from caffecompat.cli.common.net_flags import net_flags, open_model
from caffecompat.cli.common.outputs import output
from caffecompat.cli.common.picture_flags import size_of

if TYPE_CHECKING:
    from caffecompat.report.net_diff import NetComparison
    from caffecompat.report.net_diff_text import Sentence
    from caffecompat.schema import NetDocument, pb
    from caffecompat.schema.diff import NetDiff

HELP = "what changed between two nets, or two solvers"

_SCREEN = 40  # lines that a report has at most, as long as its sentences can be summed up
_SENTENCES = (24, 16, 12, 10, 8, 6, 4)  # sentences of a kind, before the rest is summed up: the most that fit a screen
_ON_A_PAGE = 40


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A", help="a prototxt: net or solver")
    parser.add_argument("b", metavar="B", help="another of the same kind")
    parser.add_argument("--weights", default="", metavar="WA[,WB]",
                        help="weights of A: which load into B; and of B: which blobs differ, and how far")  # fmt: skip
    parser.add_argument("--phase", default="", metavar="PHASE", help="the layers of TRAIN or TEST alone")
    parser.add_argument("--size", metavar="WxH", help="of the pictures of data layers, where neither data nor text say")
    parser.add_argument("--channels", type=COUNT, metavar="N", help="of these pictures (3)")
    net_flags(parser)
    add_switch(parser, "json", "one JSON object instead of the text")
    parser.add_argument(
        "--html", type=output("a page"), metavar="FILE", help="also write a page with both nets side by side"
    )
    add_switch(parser, "all", "every layer's name in the text, however many")


def run(args: argparse.Namespace) -> int:
    if args.phase and args.phase.upper() not in ("TRAIN", "TEST"):
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
    from dataclasses import asdict

    from caffecompat.cli.common.diff_text import Printer
    from caffecompat.report.net_diff_text import field_sentences
    from caffecompat.schema import open_solver
    from caffecompat.schema.diff import diff_solvers

    a, b = open_solver(args.a)[0], open_solver(args.b)[0]
    changes = diff_solvers(a, b)
    nets = _nets_of(a, args.a), _nets_of(b, args.b)
    offers = [f"caffecompat diff {x} {y}" for x, y in zip(*nets, strict=False) if x != y]
    if args.json:
        table = {"kind": "solver", "differs": bool(changes), "fields": [asdict(c) for c in changes], "nets": offers}
        print(json.dumps(table, indent=1))
        return 1 if changes else 0
    printer = Printer(args.all)
    lines = [printer.paint("head", f"A {args.a}"), printer.paint("head", f"B {args.b}"), "  two solvers"]
    lines += printer.lines(field_sentences(changes)) if changes else ["  no difference"]
    printer.print([*lines, *(printer.paint("", f"for the nets they name: {offer}") for offer in offers)])
    return 1 if changes else 0


def _nets_of(solver: pb.SolverParameter, path: str) -> list[str]:
    from caffecompat.paths import look_up

    found = []
    for net in filter(None, (solver.net, solver.train_net, *solver.test_net)):
        file = look_up(net, path)
        here = os.path.join(os.path.dirname(path), os.path.basename(net))  # where others' absolute paths ended up
        found.append(file or (here if os.path.exists(here) else net))
    return found


# ------------------------------------------------------------------------------------------------ nets


def _diff_nets(args: argparse.Namespace) -> int:
    from caffecompat.cli.common.diff_text import Printer
    from caffecompat.report.net_diff import diff_nets

    files = split_commas(args.weights)
    if len(files) > 2:
        raise UsageError(f"caffecompat diff: --weights takes the weights of A, or of A and B; these are {len(files)}")
    a, b = open_model(args, args.a), open_model(args, args.b)
    found = diff_nets(a, b, args.phase or None, weights=files, size=size_of(args), channels=args.channels)
    diff = found.diff
    heading = _heading(args, a, b, diff)
    if args.html:
        from caffecompat.formats.atomic import atomic_write
        from caffecompat.report.net_diff_page import diff_page

        sentences = _sentences(args, a, b, diff, found, most=_ON_A_PAGE)
        with atomic_write(args.html) as file:
            file.write(
                diff_page(os.fspath(args.a), os.fspath(args.b), diff, heading[2], sentences, found.measured).encode()
            )
    if args.json:
        print(json.dumps(_as_json(diff, found), indent=1))
    else:
        for most in [None] if args.all else _SENTENCES:
            lines = _lines(heading, _sentences(args, a, b, diff, found, most, args.all), args.all, found.differs)
            if len(lines) <= _SCREEN:
                break
        Printer.print(lines)
        if args.html:
            print(f"wrote {args.html}")
    return 1 if found.differs else 0


def _lines(heading: list[str], sentences: list[Sentence], everything: bool, differs: bool) -> list[str]:
    """The whole report, as the terminal shows it."""
    from caffecompat.cli.common.diff_text import Printer

    printer = Printer(everything)
    lines = [*(printer.paint("head", line) for line in heading[:2]), *heading[2:]]
    lines += ([] if differs else ["  no difference"]) + printer.lines(sentences)
    return lines + (["(--all shows everything)"] if printer.left_out else [])


def _sentences(
    args: argparse.Namespace, a: NetDocument, b: NetDocument, diff: NetDiff, found: NetComparison, most: int | None,
    everything: bool = False,
) -> list[Sentence]:  # fmt: skip
    """What there is to say, sentence by sentence, `most` of a kind."""
    from caffecompat.cli.common.diff_text import blob_sentences, shape_sentences, weight_sentences
    from caffecompat.report.net_diff_text import Sentence, field_sentences, layer_sentences

    sentences = [*field_sentences(diff.fields), *layer_sentences(diff, most)]
    if a.fork != b.fork:
        sentences.append(Sentence("", [f"! read by the rules of different forks: A {a.fork.value}, B {b.fork.value}"]))
    if found.differs:
        sentences += shape_sentences(found.shapes, everything)
    if found.weights and (found.differs or args.weights):
        sentences += weight_sentences(found.weights, everything)
    if found.blobs is not None:
        sentences += blob_sentences(found.blobs, everything)
    return sentences + [Sentence("", [f"note: {note}"]) for note in found.notes if found.differs]


def _heading(args: argparse.Namespace, a: NetDocument, b: NetDocument, diff: NetDiff) -> list[str]:
    same, both = len(diff.of_kind("same")), sum(1 for _ in diff.pairs)
    counts = f"  {len(a.message.layer)} and {len(b.message.layer)} layers, {both} in both"
    if diff.renamed:
        counts += f" ({len(diff.renamed)} renamed: named here as in B)"
    return [f"A {args.a}", f"B {args.b}", counts + (f", {same} of them the same" if same < both else "")]


def _as_json(diff: NetDiff, found: NetComparison) -> dict[str, object]:
    from dataclasses import asdict

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
        "differs": found.differs,
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


def _finite(row: dict[str, object]) -> dict[str, object]:
    """JSON knows no infinity."""
    return {**row, "relative": None if row["relative"] == float("inf") else row["relative"]}
