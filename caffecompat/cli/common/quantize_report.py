"""The report of a quantization: scores in floating and in fixed point, and what each layer costs."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caffecompat.cli.common.flags import UsageError

if TYPE_CHECKING:
    from caffecompat.evaluate.quantized import Score
    from caffecompat.quantize.layer_noise import LayerNoise
    from caffecompat.quantize.quantizer import Quantized
    from caffecompat.schema import NetDocument, NetSource

__all__ = ["check_report_flags", "print_report", "report_flags"]

_MOST_ROWS = 20


def report_flags(parser: argparse.ArgumentParser) -> None:
    """Add ``--report`` and what belongs to it."""
    parser.add_argument("--report", metavar="LIST",
                        help="score both nets on this list or database with labels; table of the layers")  # fmt: skip
    parser.add_argument(
        "--task", metavar="T", help="of --report: segmentation, classification, detection (default: found)"
    )
    parser.add_argument("--classes", metavar="FILE", help="of --report: class names, one a line; or cityscapes, voc")
    parser.add_argument("--root-folder", default="", metavar="DIR", help="of --report: put before the list's paths")


def check_report_flags(verb: str, args: argparse.Namespace) -> None:
    """Refuse what would end the command after its long part: an unknown task, files that cannot be read.

    Raises:
        UsageError: the task is unknown, or a flag of the report is there without it.
        CaffeCompatError: the list, the class names or the solver of ``--finetune`` cannot be read.
    """
    from caffecompat.data.dataset import is_dataset
    from caffecompat.evaluate.quantized import TASKS
    from caffecompat.files import read_text
    from caffecompat.report.palette import read_names
    from caffecompat.schema import read_solver

    if args.task is not None and args.task not in TASKS:
        raise UsageError(f"{verb}: --task {args.task}: expected {', '.join(TASKS)}")
    given = next((flag for flag in ("task", "classes", "root_folder") if getattr(args, flag)), None)
    if given and not args.report:
        raise UsageError(f"{verb}: --{given.replace('_', '-')} is for --report")
    if args.report and not is_dataset(args.report):
        read_text(args.report, "the list of pictures and labels")
    if args.classes:
        read_names(args.classes)
    if args.finetune:
        read_solver(args.finetune)


def print_report(
    args: argparse.Namespace, nets: Mapping[str, tuple[NetSource, Any]], done: Quantized, like: NetDocument,
    **settings: Any,
) -> None:  # fmt: skip
    """Score and measure, print both tables, and write them as OUT/report.json, which `caffecompat report` shows.

    The second is also drawn, as OUT/layers.png, where matplotlib is installed.

    Args:
        nets: what is scored, (net, weights) by the name of its column.
        done: what the layers are measured of. `like`: the net in floating point.
        settings: of all scores: preprocess, size, device.
    """
    from caffecompat.evaluate.quantized import compare_scores
    from caffecompat.formats.atomic import atomic_write
    from caffecompat.quantize.layer_noise import layer_noise
    from caffecompat.report.palette import read_names
    from caffecompat.report.plots import PlotError, noise_bars
    from caffecompat.schema import NetDocument

    names = read_names(args.classes) if args.classes else ()
    scores = compare_scores(list(nets.values()), args.report, args.task, names=names, root=args.root_folder, **settings)
    print("\n".join(score_table(list(nets), scores)))
    document = NetDocument.from_message(done.message, like=like.fork_choice)
    layers = layer_noise(document, done.blobs, device=settings["device"])
    print("", *noise_table(layers), sep="\n")
    path = Path(args.output_dir) / "report.json"
    with atomic_write(path) as file:
        file.write(json.dumps(_as_json(args, list(nets), scores, layers), indent=1).encode())
    print(f"wrote {path}")
    path = path.with_name("layers.png")
    try:
        noise_bars(path, layers, "noise of fixed point, worst layer first")
        print(f"wrote {path}")
    except PlotError as problem:
        print(f"no picture of the layers: {problem}")


def _as_json(
    args: argparse.Namespace, columns: Sequence[str], scores: Sequence[Score], layers: Sequence[LayerNoise]
) -> dict[str, Any]:
    """Both tables as records; JSON knows neither NaN nor infinity."""
    from dataclasses import asdict

    def finite(record: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: None if isinstance(cell, float) and not math.isfinite(cell) else cell for name, cell in record.items()
        }

    return {
        "model": args.model,
        "weights": args.weights,
        "data": args.report,
        "scores": [
            finite({"score": score.name, **dict(zip(columns, map(float, score.values), strict=True))})
            for score in scores
        ],
        "layers": [finite(asdict(layer)) for layer in layers],
    }


def score_table(columns: Sequence[str], scores: Sequence[Score]) -> list[str]:
    """Lines of a table: a column a net, and the last one less the first."""
    width = max(len("score"), *(len(score.name) for score in scores))
    head = (*columns, "difference")
    lines = [f"{'score':<{width}}" + "".join(f"  {name:>10}" for name in head)]
    for score in scores:
        texts = [*(_number(value, 4) for value in score.values), _number(score.values[-1] - score.values[0], 4, "+")]
        lines.append(f"{score.name:<{width}}" + "".join(f"  {text:>10}" for text in texts))
    return lines


def noise_table(layers: list[LayerNoise]) -> list[str]:
    """Lines of a table, worst layer first; decibels of signal to noise."""
    shown = layers[:_MOST_ROWS]
    width = max(len("layer"), *(len(one.layer) for one in shown)) if shown else 5
    lines = [
        f"{'layer':<{width}}  {'bits':>4}  {'position':>8}  {'dB':>6}  {'alone':>6}  {'weights':>7}  {'saturated':>9}"
    ]
    lines += [
        f"{one.layer:<{width}}  {one.bits:>4}  {one.position:>8}  {_number(one.ratio, 1):>6}  "
        f"{_number(one.own, 1):>6}  {_number(one.weights, 1):>7}  {one.saturated:>9.3%}"
        for one in shown
    ]
    if len(layers) > len(shown):
        lines.append(f"and {len(layers) - len(shown)} layers with less noise")
    lines.append("dB: signal to noise against the net in floating point; alone: of this activation's rounding; "
                 "weights: of the layer's weights")  # fmt: skip
    return lines


def _number(value: float, digits: int, sign: str = "") -> str:
    return "-" if math.isnan(value) else f"{value:{sign}.{digits}f}"
