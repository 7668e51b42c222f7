"""Fold batch normalization and Scale into the convolutions, deconvolutions and inner products around them.

    caffecompat merge-bn deploy.prototxt net.caffemodel merged.prototxt merged.caffemodel

All forks' forms are known: BVLC's BatchNorm and Scale, Xilinx' and Jacinto's BatchNorm with a scale, PSPNet's BN,
ENet's BN in its INFERENCE mode. They go into the layer before them; after a Concat into all that it joins, unless a
ReLU follows, which a DPU runs after a normalization but not after a Concat; else into the layers after them, if those
do not pad. What is not folded is listed with the reason. Both nets are then run on random input; exit status 1 tells
that their outputs differ by more than 1e-5 of the largest value. A net that holds NaN or infinity, or computes them, is
an error: the first such layer is named, and nothing is written.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from caffecompat.cli.flags import add_nonfinite_flag, add_switch, weight_files
from caffecompat.cli.net_flags import net_flags, open_model
from caffecompat.cli.outputs import output

if TYPE_CHECKING:
    from caffecompat.deploy.fold_norm import Folded

HELP = "fold batch normalization into the weights around it"

_NAMED = 5  # of the layers that stay for one reason; the reason tells which kind they are
_OWN_LINES, _WIDTH = 15, 110  # folded layers beyond so many share lines of this width


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="deploy prototxt")
    parser.add_argument("weights", metavar="WEIGHTS")
    parser.add_argument("out_model", type=output("a prototxt"), metavar="OUT_MODEL")
    parser.add_argument("out_weights", type=output("a file of weights"), metavar="OUT_WEIGHTS")
    add_switch(
        parser, "running-statistics",
        "fold BatchNorm with use_global_stats: false too, by its stored statistics; that changes the numbers",
    )  # fmt: skip
    net_flags(parser)
    add_nonfinite_flag(parser)


def run(args: argparse.Namespace) -> int:
    from caffecompat.deploy.merge import merge_batch_norm

    done = merge_batch_norm(
        open_model(args, args.model),
        weight_files(args.weights) or (),
        args.out_model,
        args.out_weights,
        running_statistics=args.running_statistics,
        allow_nonfinite=args.allow_nonfinite,
    )
    print(*report_lines(done.folded), sep="\n")
    if done.statistics_changed:
        print("use_global_stats: false was taken out; numbers are those of the stored statistics from here on")
    for difference in done.differences:
        print(f"checked on random input: {difference.line()}")
    print(f"wrote {args.out_model} and {args.out_weights}")
    return 0 if done.same else 1


def report_lines(folded: Folded) -> list[str]:
    """What was folded into what, and what was not."""
    by_target: dict[str, list[str]] = {}
    for name, target in folded.folded:
        by_target.setdefault(target, []).append(f"{name} (before it)" if name in folded.ahead else name)
    merged = len({name for name, _ in folded.folded})
    lines = [f"folded {merged} layer{'s' * (merged != 1)} into {len(by_target)}"]
    lines += _packed([f"{target} <- {', '.join(names)}" for target, names in by_target.items()])
    by_reason: dict[str, list[str]] = {}
    for name, reason in folded.left:
        by_reason.setdefault(reason, []).append(name)
    if folded.left:
        many = len(folded.left) > 1
        lines.append(f"{len(folded.left)} layers stay as they are:" if many else "1 layer stays as it is:")
    for reason, names in by_reason.items():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        lines.append(f"  {', '.join(names[:_NAMED])}{more}: {reason}")
    return lines


def _packed(texts: list[str]) -> list[str]:
    """A line for each text, or several to a line where they would fill a screen."""
    if len(texts) <= _OWN_LINES:
        return [f"  {text}" for text in texts]
    lines = [""]
    for text in texts:
        if lines[-1] and len(lines[-1]) + len(text) + 2 > _WIDTH:
            lines.append("")
        lines[-1] += f"; {text}" if lines[-1] else text
    return [f"  {line}" for line in lines]
