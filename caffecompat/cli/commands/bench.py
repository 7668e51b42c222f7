"""Measure what networks cost, side by side: parameters, MACs, time, images a second and memory of a forward pass.

    caffecompat bench a/deploy.prototxt b/deploy.prototxt --size 512x256
    caffecompat bench lenet small.prototxt
    caffecompat bench small.prototxt large.prototxt --batch 8 --score small=0.61 --score large=0.68 --plot cost.png

MODEL is a file, or where there is none of that name a network of the zoo as published ('caffecompat new --list').
A net that trains is measured as the one that would be deployed. All models are measured in each round and the medians
count, so that other work on the machine is unfair to none; still, leave it alone meanwhile. The memory is what the
weights and the most blobs alive at once take as 32-bit floats (on a GPU: what torch measured). --plot draws the scores
that --score gives against MACs, milliseconds or parameters; it needs matplotlib: pip install 'caffecompat[plot]'.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from caffecompat.cli.common.flags import NATURAL, UsageError, device_flags, finite
from caffecompat.cli.common.outputs import output
from caffecompat.cli.common.picture_flags import size_of
from caffecompat.cli.common.progress import live_line, progress_flag
from caffecompat.cli.common.zoo_names import file_or_network

if TYPE_CHECKING:
    from caffecompat.report.net_bench import NetCost

HELP = "what networks cost, side by side: parameters, MACs, time, memory"
_X = {"macs": "macs", "ms": "milliseconds", "parameters": "parameters"}


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="+", metavar="NETWORK|MODEL", help="a net's prototxt, or a network of the zoo")
    parser.add_argument("--size", metavar="WxH", help="input size of all, instead of each one's own, as in 512x256")
    parser.add_argument("--batch", type=NATURAL, default=1, metavar="N", help="inputs a pass (default 1)")
    parser.add_argument("--rounds", type=NATURAL, default=10, metavar="N", help="measurements of each (default 10)")
    parser.add_argument(
        "--score", action="append", default=[], metavar="MODEL=S", help="the score of a model; repeatable"
    )
    parser.add_argument("--plot", type=output("a picture"), metavar="FILE", help="draw scores against costs")
    parser.add_argument("--x", default="macs", metavar="COST", help="of the plot: macs (default), ms or parameters")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    progress_flag(parser)
    device_flags(parser)


def run(args: argparse.Namespace) -> int:
    if args.x not in _X:
        raise UsageError(f"caffecompat bench: --x {args.x}: expected {', '.join(_X)}")
    names = _names(args.models)
    scores = _scores(args.score, names, args.models)
    if args.plot and not scores:
        raise UsageError("caffecompat bench: --plot needs scores, as in --score MODEL=0.61")

    from caffecompat.cli.common.devices import choose_device
    from caffecompat.report.net_bench import bench_nets, plot_costs
    from caffecompat.report.plots import require_matplotlib

    if args.plot:
        require_matplotlib(args.plot)
        folder = os.path.dirname(args.plot)
        if folder and not os.path.isdir(folder):
            raise UsageError(f"caffecompat bench: --plot {args.plot}: make the folder first (mkdir -p {folder})")
    device, _ = choose_device(args.gpu, args.device)
    with live_line(args.rounds, "rounds", args.progress) as update:
        costs = bench_nets(
            dict(zip(names, map(file_or_network, args.models), strict=True)),
            size=size_of(args),
            batch=args.batch,
            rounds=args.rounds,
            device=device,
            scores=scores,
            on_round=lambda done: update(done, ""),
        )
    if args.json:
        _print_json(costs)
    else:
        print("\n".join(_table(costs)))
    if args.plot:
        plot_costs(costs, args.plot, _X[args.x])
        print(f"wrote {args.plot}")
    return 0


def _names(models: list[str]) -> list[str]:
    """What the table calls the models: the shortest ends of their paths that tell them apart."""
    from pathlib import PurePath

    parts = [PurePath(model).with_suffix("").parts for model in models]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-count:]) for one in parts]
        if len(set(names)) == len(names) and (count > 1 or "deploy" not in names):
            return names
    if len(set(models)) < len(models):
        raise UsageError("caffecompat bench: a model is given twice")
    return models


def _scores(given: list[str], names: list[str], models: list[str]) -> dict[str, float]:
    """Scores by the table's names: a model is named by these, by whole parts of them, or as it was given."""
    scores: dict[str, float] = {}
    for text in given:
        name, _, number = text.rpartition("=")
        matches = [one for one, model in zip(names, models, strict=True) if name in (one, model)] or [
            one for one in names if name and f"/{name}/" in f"/{one}/"
        ]
        if len(matches) != 1:
            raise UsageError(f"caffecompat bench: --score {text}: expected MODEL=NUMBER with one of {', '.join(names)}")
        if matches[0] in scores:
            raise UsageError(f"caffecompat bench: --score {text}: {matches[0]} has a score already")
        try:
            scores[matches[0]] = finite(number)
        except (ValueError, argparse.ArgumentTypeError):
            raise UsageError(f"caffecompat bench: --score {text}: {number!r} is no number") from None
    return scores


def _table(costs: list[NetCost]) -> list[str]:
    from caffecompat.cli.common.net_table import mega, shape_text

    scored = any(cost.score is not None for cost in costs)
    head = ["network", "input", "parameters", "MACs (M)", "forward (ms)", "images/s", "memory (MiB)"]
    rows = [[*head, *(["score"] if scored else [])]]
    for cost in costs:
        row = [
            cost.name,
            " ".join(shape_text(shape) for shape in cost.inputs.values()),
            f"{cost.parameters:,}",
            mega(cost.macs),
            f"{cost.milliseconds:.2f}",
            f"{cost.images_per_second:.1f}",
            f"{cost.peak_bytes / 2**20:.1f}",
        ]
        if scored:
            row.append("" if cost.score is None else f"{cost.score:g}")
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if at < 2 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _print_json(costs: list[NetCost]) -> None:
    import json
    from dataclasses import asdict

    print(json.dumps({"networks": [asdict(cost) for cost in costs]}, indent=1))
