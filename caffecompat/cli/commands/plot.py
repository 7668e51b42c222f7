"""Draw training logs: losses, accuracies and learning rate over iterations or seconds.

    caffecompat plot train.log curve.png
    caffecompat plot espnet.log enet.log both.svg --x seconds --smooth 10
    caffecompat plot train.log accuracy.png --y accuracy,loss

Logs of any Caffe and of caffecompat, as parse-log reads them; several are drawn into the same panels. --y names
outputs (one panel each; the name of a vector means all its elements) or "smoothed loss", "learning rate", "speed"
(iterations a second), "sparsity". Needs matplotlib: pip install 'caffecompat[plot]'.
"""

from __future__ import annotations

import argparse

from caffecompat.cli.common.flags import COUNT, UsageError, add_switch, split_commas

HELP = "curves of training logs: loss, accuracy, learning rate"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="LOG... OUT", help="logs, and the picture: .png, .svg or .pdf")
    parser.add_argument("--x", default="iterations", metavar="WHAT", help="iterations (default) or seconds")
    parser.add_argument("--y", metavar="A,B", help="what to draw (default: losses, other outputs, learning rate)")
    parser.add_argument("--smooth", type=COUNT, default=1, metavar="N", help="running mean over N displays")
    add_switch(parser, "beside", "a column a log, instead of all in the same panels")


def run(args: argparse.Namespace) -> int:
    *logs, out = args.files
    if not logs:
        raise UsageError(f"caffecompat plot: needs a log and a picture to write, as in: plot {out} curve.png")
    if args.x not in ("iterations", "seconds"):
        raise UsageError(f"caffecompat plot: --x {args.x}: expected iterations or seconds")

    from caffecompat.report.training_curve import plot_logs

    plot_logs(logs, out, x=args.x, y=split_commas(args.y or ""), smooth=args.smooth, beside=args.beside)
    print(f"wrote {out}")
    return 0
