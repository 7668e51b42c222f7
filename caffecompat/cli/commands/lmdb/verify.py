"""Decode every record and name those that are wrong."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from caffecompat.cli.common.flags import INT32, NATURAL, THREADS, add_switch
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
        type=NATURAL,
        default=0,
        metavar="N",
        help="labels must be 0 to N-1 (of a pair: the label pictures' pixels; boxes: 1 to N-1)",
    )
    parser.add_argument("--ignore-label", type=INT32, default=255, metavar="N", help="also allowed there (default 255)")
    add_switch(parser, "label-pixels", "DB holds label pictures: --classes is about its pixels")
    add_switch(parser, "any-size", "records may differ in size")
    parser.add_argument("--threads", type=THREADS, default=0, metavar="N", help="that decode (default: one a core)")
    progress_flag(parser)


def run(args: argparse.Namespace) -> int:
    from caffecompat.data.database_checks import verify_database
    from caffecompat.data.dataset import count_records, dataset_parts

    total = count_records(args.database) * len(dataset_parts(args.database))
    with record_progress(total, args.progress) as step:
        found = verify_database(
            args.database, classes=args.classes, ignore_label=args.ignore_label, label_pixels=args.label_pixels,
            any_size=args.any_size, threads=args.threads, on_progress=step,
        )  # fmt: skip
    for mismatch in found.mismatches:
        print(f"{args.database}: {mismatch}")
    for path, problems in found.problems.items():
        _report(path, found.records[path], problems)
    if len(found.records) > 1:
        keys = "different keys" if found.mismatches else "the same keys"
        wrong, records = sum(map(len, found.problems.values())), sum(found.records.values())
        print(f"{args.database}: {len(found.records)} databases, {keys}, {wrong} of {records} records are wrong")
    return 0 if found.sound else 1


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
