"""Hold a net against the published limits of inference hardware, before any training is spent on it.

    caffecompat check train_val.prototxt --target dpu
    caffecompat check deploy.prototxt --target dpu,tidl
    caffecompat check deploy.prototxt --target dpu --target-version 1.4 --json

Every layer runs there, is rewritten for it (the report says how), falls to the CPU, or is refused; for the last two the
report says what to change about the net. The last line is the verdict on the whole. A net that trains is looked at as
it is when deployed. The exit status is 1 where a layer is refused.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from caffecompat.cli.common.flags import COUNT, UsageError, add_switch, split_commas
from caffecompat.cli.common.net_flags import net_flags, open_model
from caffecompat.cli.common.picture_flags import names_fitting_sizes, size_of

if TYPE_CHECKING:
    from caffecompat.deploy.targets.check import TargetReport

HELP = "every layer against the limits of a DPU or TIDL"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a net's prototxt: deploy or train_val")
    parser.add_argument("--target", required=True, metavar="T", help="dpu, tidl, or both with a comma between")
    parser.add_argument("--target-version", metavar="V", help="of the target (default: the newest known)")
    parser.add_argument("--size", metavar="WxH", help="input size instead of the prototxt's, as in 1024x512")
    parser.add_argument("--channels", type=COUNT, metavar="N", help="of pictures whose data layer cannot be opened (3)")
    net_flags(parser)
    add_switch(parser, "json", "one JSON object instead of the text")
    add_switch(parser, "all", "a line for each layer instead of one for each finding")


@names_fitting_sizes
def run(args: argparse.Namespace) -> int:
    from caffecompat.deploy.targets.check import check
    from caffecompat.deploy.targets.text import fitted, verdict_line

    targets = split_commas(args.target)
    if not targets:
        raise UsageError("caffecompat check: --target needs a target: dpu, tidl")
    if args.target_version and len(targets) > 1:
        raise UsageError("caffecompat check: --target-version needs exactly one target")
    document, settings = open_model(args, args.model), {"size": size_of(args), "channels": args.channels}
    reports = [check(document, target, args.target_version, **settings) for target in targets]
    warnings = list(dict.fromkeys(warning for report in reports for warning in report.warnings))
    if args.json:
        print(json.dumps({"targets": [_as_json(report) for report in reports], "warnings": warnings}, indent=1))
    else:
        lines = [line for report in reports for line in _lines(report, args.all)]
        lines += [f"warning: {warning}" for warning in warnings]
        print(*fitted([*lines, *map(verdict_line, reports)]), sep="\n")
    return 1 if any(report.of("refused") for report in reports) else 0


def _lines(report: TargetReport, everything: bool) -> list[str]:
    from caffecompat.deploy.targets.text import VERDICT_TEXTS, document_lines, finding_lines, remedy_lines

    table = report.table
    counts = ", ".join(
        f"{len(report.of(verdict))} {text}" for verdict, text in VERDICT_TEXTS.items() if report.of(verdict)
    )
    lines = [f"{table.target} {table.version}: {table.title}", f"{len(report.layers)} layers: {counts}"]
    lines += _all_lines(report) if everything else finding_lines(report)
    listed = report.layers if everything else [x for x in report.layers if x.verdict != "runs" or x.judgment.warned]
    return [*lines, *document_lines(report, listed), *remedy_lines(report), ""]


def _all_lines(report: TargetReport) -> list[str]:
    width = max(len(layer.name) for layer in report.layers)
    lines = []
    for layer in report.layers:
        listed = "; ".join(f"{text} [{source}]" for text, source in (*layer.judgment.reasons, *layer.judgment.warned))
        lines.append(f"  {layer.name:<{width}}  {layer.type:<16} {layer.verdict:<9} {listed}")
    return lines


def _as_json(report: TargetReport) -> dict[str, object]:
    from caffecompat.deploy.targets.text import verdict_line

    table = report.table
    return {
        "target": table.target,
        "version": table.version,
        "title": table.title,
        "documents": table.documents,
        "notes": report.notes,
        "verdict": verdict_line(report).partition(": ")[2],
        "layers": [
            {
                "name": layer.name,
                "type": layer.type,
                "verdict": layer.verdict,
                "reasons": [{"text": text, "source": source} for text, source in layer.judgment.reasons],
                "notes": [{"text": text, "source": source} for text, source in layer.judgment.warned],
                "remedies": layer.judgment.remedies,
            }
            for layer in report.layers
        ],
    }
