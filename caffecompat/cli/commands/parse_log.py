"""Make tables of a training log: LOG.train and LOG.test as CSV, like Caffe's tools/extra/parse_log.py.

    caffecompat parse-log train.log [OUT_DIR]
    caffecompat parse-log train.log --json

Reads logs of BVLC Caffe, SSD, ENet/SegNet, Xilinx Caffe, NVCaffe and TI Jacinto, and of caffecompat. Columns:
NumIters, Seconds (since 'Solving'), LearningRate, then the outputs. Beyond parse_log.py: a blob of several values gives
one column a value (per_acc_0, per_acc_1, ...); the rate is that of the row's own iteration, not of the display before;
nan and inf are kept; a log with one display gives a row; several runs in one file have numbers in a last column Run,
several test nets in TestNet; Jacinto's and SSD's mAP and IoU lines are columns too.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from typing import TYPE_CHECKING

from caffecompat.cli.common.flags import UsageError, add_switch
from caffecompat.cli.common.outputs import output

if TYPE_CHECKING:
    from caffecompat.report.log_parser import LogRow, TrainingLog

HELP = "tables (CSV, JSON) of a training log, ours or any Caffe's"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("log", metavar="LOG", help="the log: stderr of a training run")
    parser.add_argument(
        "out_dir", type=output(), nargs="?", metavar="OUT_DIR", help="folder for the tables (default: the log's)"
    )
    parser.add_argument("--delimiter", default=",", metavar="C", help="between the columns (default a comma)")
    add_switch(parser, "verbose", "say what the log holds")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, no files; null is nan or inf")


def run(args: argparse.Namespace) -> int:
    from caffecompat.report.log_parser import parse_log

    delimiter = {"\\t": "\t", "tab": "\t"}.get(args.delimiter, args.delimiter)
    if len(delimiter) != 1:
        raise UsageError(f"caffecompat parse-log: --delimiter {args.delimiter!r}: one character (or tab)")
    log = parse_log(args.log)
    if not log.start_found:
        _note(f"{args.log} has no 'Solving' line; Seconds count from its first dated line")
    if args.json:
        print(json.dumps(_as_json(log), indent=1))
        return 0
    _write(log, args.out_dir, delimiter)
    if args.verbose:
        _describe(log)
    return 0


def _write(log: TrainingLog, folder: str | None, delimiter: str) -> None:
    import io

    from caffecompat.formats.atomic import atomic_write
    from caffecompat.report.log_parser import write_csv

    stem = log.path if folder is None else os.path.join(folder, os.path.basename(log.path))
    if folder is not None:
        os.makedirs(folder, exist_ok=True)
    for kind, test in (("train", False), ("test", True)):
        table = log.table(test)
        if not table:
            _note(f"no {kind} rows; {stem}.{kind} not written")
            continue
        text = io.StringIO(newline="")
        write_csv(text, table, delimiter)
        with atomic_write(f"{stem}.{kind}") as file:
            file.write(text.getvalue().encode())
        print(f"wrote {stem}.{kind} ({len(table)} rows)")


def _describe(log: TrainingLog) -> None:
    print(f"runs: {log.runs}")
    for kind, rows, names in (("train", log.train, log.names()), ("test", log.test, log.names(test=True))):
        if rows:
            print(f"{kind}: iterations {rows[0].iteration} to {rows[-1].iteration}; {', '.join(names) or 'no outputs'}")


def _as_json(log: TrainingLog) -> dict[str, object]:
    return {
        "log": log.path,
        "runs": log.runs,
        "train": [_row(row) for row in log.train],
        "test": [_row(row) for row in log.test],
        "sparsity": [{"iteration": i, "seconds": _plain(s), "sparsity": _plain(v)} for i, s, v in log.sparsity],
    }


def _row(row: LogRow) -> dict[str, object]:
    own: dict[str, object] = {"run": row.run, "iteration": row.iteration, "seconds": _plain(row.seconds)}
    own["learning_rate"] = _plain(row.rate)
    if row.test_net is None:
        own |= {"loss": _plain(row.loss), "iterations_per_second": _plain(row.speed)}
    else:
        own["test_net"] = row.test_net
    return {**own, "outputs": {name: _plain(value) for name, value in row.values.items()}}


def _plain(value: float) -> float | None:
    """JSON knows neither nan nor inf."""
    return value if math.isfinite(value) else None


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)
