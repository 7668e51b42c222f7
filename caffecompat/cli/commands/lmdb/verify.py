"""Decode every record and name those that are wrong."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from caffecompat.cli.common.flags import add_switch
from caffecompat.cli.common.progress import progress_flag
from caffecompat.cli.common.record_progress import record_progress

if TYPE_CHECKING:
    from caffecompat.data.inspection import RecordProblem

HELP = "decode every record and name those that are wrong"

_MOST_PROBLEMS = 100


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("database", metavar="DB", help="a database, or the folder of an image and a label database")
    parser.add_argument(
        "--classes",
        type=int,
        default=0,
        metavar="N",
        help="labels must be 0 to N-1 (of a pair: the label pictures' pixels; boxes: 1 to N-1)",
    )
    parser.add_argument("--ignore-label", type=int, default=255, metavar="N", help="also allowed there (default 255)")
    add_switch(parser, "label-pixels", "DB holds label pictures: --classes is about its pixels")
    add_switch(parser, "any-size", "records may differ in size")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="that decode (default: one a core)")
    progress_flag(parser)


def run(args: argparse.Namespace) -> int:
    from caffecompat.data.dataset import open_parts
    from caffecompat.data.inspection import Checks, verify_database, verify_keys

    wrong = records = 0
    with ExitStack() as stack:
        databases = [stack.enter_context(database) for database in open_parts(args.database)]
        pair = len(databases) > 1
        mismatches = verify_keys(databases) if pair else []
        for mismatch in mismatches:
            print(f"{args.database}: {mismatch}")
        for number, database in enumerate(databases):
            pixels = args.label_pixels or number == 1
            classes = 0 if pair and number == 0 else args.classes
            checks = Checks(not args.any_size, classes, pixels, args.ignore_label)
            with record_progress(len(database), args.progress) as step:
                problems = verify_database(database, checks, threads=args.threads, on_progress=step)
            _report(database.path, len(database), problems)
            wrong += len(problems)
            records += len(database)
        if pair:
            keys = "different keys" if mismatches else "the same keys"
            print(f"{args.database}: {len(databases)} databases, {keys}, {wrong} of {records} records are wrong")
    return 1 if wrong or mismatches else 0


def _report(path: str, records: int, problems: Sequence[RecordProblem]) -> None:
    """The first problems, a line each, and after them how many there are of each kind."""
    if not problems:
        print(f"{path}: {records} records are sound")
        return
    for problem in problems[:_MOST_PROBLEMS]:
        print(f"  {problem}")
    if len(problems) > _MOST_PROBLEMS:
        print(f"  ... and {len(problems) - _MOST_PROBLEMS} more")
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(problem.kind for problem in problems).most_common())
    print(f"{path}: {len(problems)} of {records} records are wrong: {kinds}")
