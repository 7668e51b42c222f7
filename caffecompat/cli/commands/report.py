"""Write one page about training runs, to look at in a browser: curves, scores, predictions, what differs.

    caffecompat report train.log --out report.html
    caffecompat report espnet.log enet.log --out both.html --classes cityscapes

RUN is a log of any Caffe or of caffecompat; or the prefix of snapshots (snapshots/net), whose logs are looked for near
it; or a folder, for the logs and results in it; or a result in JSON: of eval --json (also with --snapshots), of
quantize --report (OUT/report.json), of sparsify --json, and the like.

The page is one file that loads nothing: curves of all logs (values under the pointer, zoom by dragging), scores of
snapshots and classes, what the newest snapshot of each run makes of its first test pictures, what differs between the
nets and solvers of the runs, learning rates and speed, shares of zeros, tables of the results, commands and versions.
Solver and nets are those that the log repeats. `train --report DIR` keeps such a page up to date while it trains.
"""

from __future__ import annotations

import argparse

from caffecompat.cli.common.flags import NATURAL
from caffecompat.cli.common.outputs import output

HELP = "training runs as one page: curves, scores, predictions, differences"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("runs", nargs="+", metavar="RUN", help="log, prefix of snapshots, folder, or result in JSON")
    parser.add_argument("--out", type=output("a page"), default=output("a page")("report.html"), metavar="FILE",
                        help="the page (default report.html)")  # fmt: skip
    parser.add_argument("--classes", metavar="FILE", help="class names, one a line; or cityscapes, voc")
    parser.add_argument("--palette", metavar="P", help="their colors, as of segment")
    parser.add_argument("--pictures", type=NATURAL, default=6, metavar="N",
                        help="predictions to show of each run (default 6); 0 runs no net")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    from caffecompat.report.run_report import report_runs

    report_runs(args.runs, args.out, classes=args.classes, palette=args.palette, pictures=args.pictures)
    print(f"wrote {args.out}")
    return 0
