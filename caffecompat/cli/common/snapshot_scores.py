"""Scores of a net's weights, or of every snapshot of its training: a line each, the best one and the curve."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from caffecompat import glog
from caffecompat.cli.common.flags import UsageError
from caffecompat.cli.common.outputs import output
from caffecompat.cli.common.scored_net import is_onnx, load_weights

if TYPE_CHECKING:
    from caffecompat.evaluate.scored_net import ScoredNet

__all__ = ["Row", "check_weights", "find_snapshots", "plain", "score_snapshots", "score_text", "weights_flags"]

Row = dict[str, Any]
Kind = TypeVar("Kind", bound="ScoredNet")


def weights_flags(parser: argparse.ArgumentParser, curve: str) -> None:
    """Add ``--weights``, ``--snapshots`` and ``--plot``, whose file is PREFIX_`curve`.png where it is not given."""
    parser.add_argument("--weights", metavar="FILE", help="its weights (this or --snapshots)")
    parser.add_argument("--snapshots", metavar="PREFIX", help="score every PREFIX_iter_N.caffemodel and draw the curve")
    parser.add_argument(
        "--plot",
        type=output("a picture"),
        metavar="FILE",
        help=f"where the curve goes: .png, .svg (default PREFIX_{curve}.png)",
    )


def check_weights(args: argparse.Namespace, verb: str) -> None:
    """Raise UsageError unless there is one of ``--weights`` and ``--snapshots``, the latter for ``--plot``.

    An ONNX file has neither.
    """
    if is_onnx(args.model):
        if args.weights or args.snapshots:
            raise UsageError(f"{verb}: {args.model} has its weights in it: leave --weights and --snapshots out")
        return
    if bool(args.weights) == bool(args.snapshots):
        raise UsageError(f"{verb}: needs --weights FILE, or --snapshots PREFIX to score all of a training's")
    if args.plot and not args.snapshots:
        raise UsageError(f"{verb}: --plot draws the curve of --snapshots")


def find_snapshots(args: argparse.Namespace) -> list[tuple[int, str]]:
    """(iteration, path) of each of ``--snapshots``; none without that flag.

    Raises:
        UsageError: the flag is given, and there are none.
        PlotError: ``--plot`` cannot be drawn here.
    """
    from caffecompat.report.plots import require_matplotlib
    from caffecompat.solver.snapshot_files import weight_snapshots

    if args.plot:
        require_matplotlib(args.plot)
    found = weight_snapshots(args.snapshots) if args.snapshots else []
    if args.snapshots and not found:
        raise UsageError(f"--snapshots {args.snapshots}: there is no {args.snapshots}_iter_N.caffemodel")
    return found


def score_snapshots(
    args: argparse.Namespace,
    net: Kind,
    snapshots: Sequence[tuple[int, str]],
    score: Callable[[Kind], Row],
    line: Callable[[Row], str],
    *,
    curves: Mapping[str, str],
    file: str,
    counted: str = "",
) -> None:
    """Score each snapshot, report the best, and draw the curve.

    Args:
        score: scores of the net as it is, None where there is none.
        line: a row as text.
        curves: names in the plot and in the rows of the scores that are drawn; the first makes the best snapshot.
        file: the plot is PREFIX_`file`.png where ``--plot`` is not given.
        counted: what the rows say how many were scored of, for the plot's title.
    """
    rows: list[Row] = []
    for iteration, path in snapshots:
        load_weights(net, path, args)
        rows.append({"iteration": iteration, "weights": path, **score(net)})
        if not args.json:
            print(line(rows[-1]), flush=True)
    main = next(iter(curves.values()))
    best = max(rows, key=lambda row: row[main] or 0)
    title = f"{args.model}, {best[counted]:,} {counted}" if counted else args.model
    plot = _draw(args, f"{args.snapshots}_{file}.png", rows, curves, title)
    if args.json:
        print(json.dumps({"model": args.model, "snapshots": rows, "best": best, "plot": plot}, indent=1))
        return
    print(f"best: {score_text(best[main])} at iteration {best['iteration']} ({best['weights']})")
    if plot:
        print(f"wrote {plot}")


def _draw(
    args: argparse.Namespace, default: str, rows: Sequence[Row], curves: Mapping[str, str], title: str
) -> str | None:
    """The file that was written; None (and a warning) where nobody asked for one and it cannot be drawn."""
    from caffecompat.report.plots import PlotError, score_curve

    path = args.plot or default
    points = {name: [(row["iteration"], row[of]) for row in rows if row[of] is not None] for name, of in curves.items()}
    if not any(points.values()):
        glog.warning("no curve drawn: no snapshot has a score")
        return None
    try:
        score_curve(path, {name: there for name, there in points.items() if there}, title)
    except PlotError as problem:
        if args.plot:
            raise
        glog.warning(f"no curve drawn: {problem}")
        return None
    return str(path)


def score_text(value: float | None) -> str:
    """A score in a table; a dash where there is none."""
    return "-" if value is None else f"{value:.4f}"


def plain(value: float) -> float | None:
    """A score for JSON, which knows no nan."""
    return None if value != value else float(value)
