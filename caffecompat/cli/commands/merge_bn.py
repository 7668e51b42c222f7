"""Fold batch normalization and Scale into the convolutions, deconvolutions and inner products around them.

    caffecompat merge-bn deploy.prototxt net.caffemodel merged.prototxt merged.caffemodel

All forks' forms are known: BVLC's BatchNorm and Scale, Xilinx' and Jacinto's BatchNorm with a scale, PSPNet's BN,
ENet's BN in its INFERENCE mode. They go into the layer before them; after a Concat into all that it joins, unless a
ReLU follows, which a DPU runs after a normalization but not after a Concat; else into the layers after them, if those
do not pad. What is not folded is listed with the reason. Both nets are then run on random input; exit status 1 means
that their outputs differ by more than 1e-5 of the largest value. A net that holds NaN or infinity, or computes them, is
an error: the first such layer is named, and nothing is written.
"""

from __future__ import annotations

import argparse

from caffecompat.cli.common.flags import add_nonfinite_flag, add_switch, weight_files
from caffecompat.cli.common.net_flags import net_flags, open_model
from caffecompat.cli.common.outputs import output

HELP = "fold batch normalization into the weights around it"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="deploy prototxt")
    parser.add_argument("weights", metavar="WEIGHTS", help="caffemodel, or another file of weights")
    parser.add_argument("out_model", type=output("a prototxt"), metavar="OUT_MODEL", help="prototxt to write")
    parser.add_argument("out_weights", type=output("a file of weights"), metavar="OUT_WEIGHTS",
                        help="file of weights to write")  # fmt: skip
    add_switch(
        parser, "running-statistics",
        "fold BatchNorm with use_global_stats: false too, by its stored statistics; that changes the numbers",
    )  # fmt: skip
    net_flags(parser)
    add_nonfinite_flag(parser)


def run(args: argparse.Namespace) -> int:
    from caffecompat.deploy.fold_report import report_lines
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
