"""Set the smallest weights of a net to zero, or count the zeros that it has, layer by layer.

    caffecompat sparsify deploy.prototxt net.caffemodel
    caffecompat sparsify deploy.prototxt net.caffemodel sparse.caffemodel --target 0.7 --limit '*=0.9'
    caffecompat sparsify deploy.prototxt net.caffemodel sparse.caffemodel --target 0.5 --limit '*=0.9' \\
        --report val.txt --finetune solver.prototxt

Without --target nothing is changed. With it all layers get the same share of zeros, so that TARGET of the weights is
zero in the end: by a threshold for each output channel, or with --mode layer by one for each layer. As in TI's
caffe-jacinto, convolutions with windows of 3 pixels or more, 32 inputs or outputs and fewer groups than outputs are
thinned, half as much where only inputs or only outputs are 32; zeros are counted in the weights of all convolutions but
one right before a softmax. --limit NAME=SHARE sets the most zeros of a layer (0: none are made); a layer that these
rules leave out is thinned, and counted, when it is named. The last --limit that matches a layer holds.

--report LIST scores the net before and after on labeled pictures, then compares both modes: the net is thinned to each
of --targets by a threshold a layer and by one a channel, without training in between, in a table and a plot.

--finetune SOLVER trains the thinned net with its zeros frozen (sparse_mode: SPARSE_UPDATE); its snapshots lie where
the solver's snapshot_prefix says. In several processes, or to go on from a snapshot of it: `caffecompat train --solver
SOLVER --set sparse_mode=1`, with --weights OUT or --snapshot.

--json prints one object with all of this instead of the tables.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from typing import TYPE_CHECKING, Any

from caffecompat.cli.common.fine_tuning import fine_tune
from caffecompat.cli.common.flags import UsageError, device_flags, finite, split_commas, weight_files
from caffecompat.cli.common.net_flags import net_flags, open_model
from caffecompat.cli.common.outputs import output
from caffecompat.cli.common.picture_flags import (
    flags_preprocess,
    names_fitting_sizes,
    preprocess_flags,
    size_of,
    states_preprocess,
)
from caffecompat.cli.common.progress import live_line, progress_flag
from caffecompat.cli.common.quantize_report import check_report_flags, report_flags, score_table

if TYPE_CHECKING:
    import torch

    from caffecompat.evaluate.quantized import Score
    from caffecompat.quantize.sparsify import Sparsity
    from caffecompat.schema import NetDocument

HELP = "zeros of each layer; small weights set to zero, compared, fine-tuned"

_VERB = "caffecompat sparsify"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", metavar="MODEL", help="deploy or train_val prototxt")
    parser.add_argument("weights", metavar="WEIGHTS", help="caffemodel, or another file of weights")
    parser.add_argument("out", nargs="?", type=output("a file of weights"), metavar="OUT",
                        help="weights to write, with --target")  # fmt: skip
    parser.add_argument("--target", type=finite, metavar="SHARE", help="share of the weights to be zero, as 0.8")
    parser.add_argument(
        "--mode", metavar="M",
        help="channel: a threshold for each output channel (default); layer: one for each layer",
    )  # fmt: skip
    parser.add_argument(
        "--limit", action="append", default=[], metavar="NAME=SHARE",
        help="the most zeros of the layers of that name or pattern (conv*); may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--max-ratio", type=finite, default=math.inf, metavar="X",
        help="largest threshold, as a part of the channel's or layer's largest weight (TI: 0.2)",
    )  # fmt: skip
    parser.add_argument("--max-value", type=finite, default=math.inf, metavar="X", help="largest threshold (TI: 0.2)")
    parser.add_argument("--finetune", metavar="SOLVER", help="then train under this solver with the zeros frozen")
    report_flags(parser)
    parser.add_argument("--targets", metavar="A,B,...",
                        help="of --report: shares at which both modes are compared (0.5,0.6,0.7,0.8,0.9)")  # fmt: skip
    parser.add_argument("--plot", type=output("a picture"), metavar="FILE",
                        help="of --report: scores against zeros (default: sparsity.png next to OUT)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the tables")
    net_flags(parser)
    preprocess_flags(parser)
    device_flags(parser)
    progress_flag(parser)


@names_fitting_sizes
def run(args: argparse.Namespace) -> int:
    _check(args)
    from caffecompat.cli.common.devices import choose_device
    from caffecompat.cli.common.sparsity_tables import layer_zeros_table, total_zeros
    from caffecompat.quantize.sparsify import sparsify

    device, _ = choose_device(args.gpu, args.device)
    document, weights = open_model(args, args.model), weight_files(args.weights) or []
    how: dict[str, Any] = {"limits": _limits(args.limit), "max_ratio": args.max_ratio, "max_value": args.max_value}
    done = sparsify(document, weights, args.out, target=args.target, mode=args.mode or "channel", **how)
    if not args.json:
        print("\n".join([*layer_zeros_table(done), "", *total_zeros(done)]))
        if args.out:
            print(f"wrote {args.out}")
    found: dict[str, Any] = done.as_dict()
    nets = {"before": (document, weights)} | ({"sparse": (document, [args.out])} if args.out else {})
    settings = _score_settings(args, device)
    # Training may take days: what cannot be scored is an error before it.
    scores = _scores(args, nets, settings) if args.report else []
    if args.finetune:
        path, found["finetuned"] = _finetune(args, document, done, how["limits"], device)
        nets["fine-tuned"] = (document, [path])
        if args.report:
            tuned = _scores(args, {"fine-tuned": nets["fine-tuned"]}, settings)
            scores = [one._replace(values=one.values + more.values) for one, more in zip(scores, tuned, strict=True)]
    if args.report:
        found |= _report(args, nets, scores, how, settings)
    if args.json:
        print(json.dumps(found, indent=1))
    unwritten = args.plot and not found["plot"]
    return 0 if done.reached and not unwritten else 1


def _check(args: argparse.Namespace) -> None:
    if args.mode not in (None, "channel", "layer"):
        raise UsageError(f"{_VERB}: --mode {args.mode}: expected channel or layer")
    if args.out and args.target is None:
        raise UsageError(f"{_VERB}: {args.out} would be written with --target SHARE; without it nothing is changed")
    if args.finetune and not args.out:
        raise UsageError(f"{_VERB}: --finetune starts from OUT: name it, and a --target")
    if args.mode and args.target is None:
        raise UsageError(f"{_VERB}: --mode is for --target")
    bounds = next((flag for flag in ("max_ratio", "max_value") if getattr(args, flag) != math.inf), None)
    if bounds and args.target is None and not args.report:
        raise UsageError(f"{_VERB}: --{bounds.replace('_', '-')} is for --target and --report")
    given = next((flag for flag in ("targets", "plot") if getattr(args, flag)), None)
    if given and not args.report:
        raise UsageError(f"{_VERB}: --{given} is for --report")
    check_report_flags(_VERB, args)
    if args.plot:
        from caffecompat.report.plots import require_matplotlib

        require_matplotlib(args.plot)
        folder = os.path.dirname(args.plot)
        if folder and not os.path.isdir(folder):
            raise UsageError(f"{_VERB}: --plot {args.plot}: make the folder first (mkdir -p {folder})")
    _limits(args.limit)
    _targets(args.targets)


def _limits(texts: list[str]) -> dict[str, float]:
    """The limits by pattern, in the order given."""
    limits: dict[str, float] = {}
    for text in texts:
        pattern, _, share = text.rpartition("=")
        if not pattern:
            raise UsageError(f"{_VERB}: --limit {text}: expected NAME=SHARE, as conv1=0.5")
        limits.pop(pattern, None)
        limits[pattern] = _share("limit", text, share)
    return limits


def _targets(text: str | None) -> tuple[float, ...]:
    from caffecompat.quantize.sparsify import check_target
    from caffecompat.report.sparsity_curve import TARGETS

    targets = tuple(_share("targets", text, part) for part in split_commas(text)) if text else TARGETS
    for target in targets:
        check_target(target, f"--targets {text}:")
    return targets


def _share(flag: str, text: str, part: str) -> float:
    try:
        return float(part)
    except ValueError:
        raise UsageError(f"{_VERB}: --{flag} {text}: expected shares of zeros, as 0.8") from None


def _finetune(
    args: argparse.Namespace, document: NetDocument, done: Sparsity, limits: dict[str, float], device: torch.device
) -> tuple[str, dict[str, Any]]:
    """Train from OUT with its zeros frozen; the weights that came of it, and their zeros."""
    from caffecompat.cli.common.sparsity_tables import total_zeros
    from caffecompat.quantize.sparsify import sparsify
    from caffecompat.schema import pb, read_solver
    from caffecompat.solver import Solver
    from caffecompat.solver.snapshot_files import snapshot_names

    param = read_solver(args.finetune)
    param.sparse_mode, param.snapshot_after_train = pb.SPARSE_UPDATE, True
    param.ClearField("weights")
    solver = Solver(param, path=args.finetune, device=device, weights=[args.out])
    solver.sparsifier.freeze_also(layer.name for layer in done.layers)
    fine_tune(solver, args, f"caffecompat train --solver {args.finetune} --snapshot {{state}} --set sparse_mode=1")
    path = snapshot_names(solver.param, solver.iter)[0]
    tuned = sparsify(document, path, limits=limits)  # which say what counts
    if not args.json:
        print("", *total_zeros(tuned)[:2], f"wrote {path}", sep="\n")
    return path, tuned.as_dict()


def _score_settings(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    from caffecompat.report.palette import read_names

    return {
        "preprocess": flags_preprocess(args) if states_preprocess(args) else None, "size": size_of(args),
        "device": device, "names": read_names(args.classes) if args.classes else (), "root": args.root_folder,
    }  # fmt: skip


def _scores(args: argparse.Namespace, nets: dict[str, Any], settings: dict[str, Any]) -> list[Score]:
    from caffecompat.evaluate.quantized import compare_scores

    return compare_scores(list(nets.values()), args.report, args.task, **settings)


def _report(
    args: argparse.Namespace, nets: dict[str, Any], scores: list[Score], how: dict[str, Any], settings: dict[str, Any]
) -> dict[str, Any]:  # fmt: skip
    """Print the scores, compare both modes, and plot that; all of it for JSON."""
    from caffecompat import glog
    from caffecompat.cli.common.sparsity_tables import comparison_table
    from caffecompat.formats.atomic import WriteError
    from caffecompat.report.plots import PlotError
    from caffecompat.report.sparsity_curve import sparsity_curve

    if not args.json and len(nets) > 1:
        print("", *score_table(list(nets), scores), sep="\n")
    document, weights = nets["before"]
    with live_line(1, "nets", args.progress) as update:
        curve = sparsity_curve(
            document, weights, args.report, targets=_targets(args.targets), task=args.task,
            on_progress=lambda count, total: update(count, f"of {total}"), **how, **settings,
        )  # fmt: skip
    if not args.json:
        print("", *comparison_table(curve), sep="\n", flush=True)
    path, problem = _plot_path(args), ""
    try:
        curve.plot(path, args.model)
    except (PlotError, WriteError) as error:
        problem = str(error)
    if not args.json:
        print(f"no plot: {problem}" if problem else f"wrote {path}")
    elif problem:
        glog.warning(f"no plot: {problem}")
    table = {one.name: dict(zip(nets, _plain(one.values), strict=True)) for one in scores}
    return {"scores": table, "curve": curve.as_dict(), "plot": None if problem else path}


def _plot_path(args: argparse.Namespace) -> str:
    return str(args.plot or os.path.join(os.path.dirname(args.out or ""), "sparsity.png"))


def _plain(values: tuple[float, ...]) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values]
