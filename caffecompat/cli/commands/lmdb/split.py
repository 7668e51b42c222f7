"""Copy the records into two databases, drawn by chance."""

from __future__ import annotations

import argparse

from caffecompat.cli.common.flags import SEED, finite
from caffecompat.cli.common.outputs import make_folder_above
from caffecompat.cli.common.progress import progress_flag
from caffecompat.cli.common.record_progress import record_progress

HELP = "split the records at random into two databases"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("database", metavar="DB", help="a database, or the folder of an image and a label database")
    parser.add_argument("train", metavar="TRAIN", help="folder to make")
    parser.add_argument("val", metavar="VAL", help="folder to make")
    parser.add_argument(
        "--fraction", type=finite, default=0.1, metavar="F", help="of the records goes to VAL (default 0.1)"
    )
    parser.add_argument("--seed", type=SEED, default=0, metavar="N", help="which ones (default 0)")
    progress_flag(parser)


def run(args: argparse.Namespace) -> int:
    from caffecompat.data.dataset import count_records
    from caffecompat.data.split import split_database

    for out in (args.train, args.val):
        make_folder_above(out)
    with record_progress(count_records(args.database), args.progress) as step:
        first, second = split_database(
            args.database, args.train, args.val, fraction=args.fraction, seed=args.seed, on_progress=step
        )
    print(f"{args.train}: {first.written} records\n{args.val}: {second.written} records")
    return 0
