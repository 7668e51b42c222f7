"""What convert_imageset and convert_annoset share: their flags, and a build that logs as Caffe's tools do."""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from caffecompat import glog
from caffecompat.cli.common.flags import add_switch
from caffecompat.cli.common.progress import live_line, progress_flag

if TYPE_CHECKING:
    from caffecompat.data.build import Plan

__all__ = ["OPENED", "build_logged", "list_flags", "ready_list", "record_flags"]

OPENED = {"lmdb": "db_lmdb.cpp:35", "leveldb": "db_leveldb.cpp:18"}


def list_flags(parser: argparse.ArgumentParser, line: str) -> None:
    """Add the positional arguments and how the list is read; `line` says what a line of it holds."""
    parser.add_argument("root", metavar="ROOTFOLDER", help="put before each path of the list")
    parser.add_argument("list", metavar="LISTFILE", help=f"text file of lines {line}")
    parser.add_argument("database", metavar="DB_NAME", help="folder to make; must not exist")
    add_switch(parser, "gray", "treat images as grey ones")
    add_switch(parser, "shuffle", "shuffle the order of the images")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the shuffling; another number, another order"
    )
    parser.add_argument("--backend", default="lmdb", choices=("lmdb", "leveldb"), help="default lmdb")


def record_flags(parser: argparse.ArgumentParser) -> None:
    """Add what becomes of each image, and how the work is done."""
    parser.add_argument("--resize-width", type=int, default=0, metavar="N", help="width images are resized to")
    parser.add_argument("--resize-height", type=int, default=0, metavar="N", help="height images are resized to")
    add_switch(parser, "check-size", "all records must have the same size")
    add_switch(parser, "encoded", "keep encoded images (the files' own bytes where nothing changes them)")
    parser.add_argument("--encode-type", default="", metavar="KIND", help="encode images as png, jpg, ...")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="that encode (default: one a core)")
    progress_flag(parser)


def ready_list(args: argparse.Namespace, entries: list[Any], tool: str, lines: Sequence[int]) -> None:
    """Shuffle the list's entries where the flags say so, and log what Caffe's tool logs about the list.

    Args:
        tool: its source file.
        lines: where in it the three messages stand.
    """
    if args.shuffle:
        glog.info("Shuffling data", f"{tool}:{lines[0]}")
        random.Random(args.seed).shuffle(entries)
    glog.info(f"A total of {len(entries)} images.", f"{tool}:{lines[1]}")
    if args.encode_type and not args.encoded:
        glog.info("encode_type specified, assuming encoded=true.", f"{tool}:{lines[2]}")


def build_logged(
    args: argparse.Namespace,
    plan: Plan,
    total: int,
    log_bad: Callable[[int, str], None],
    processed: tuple[str, str],
) -> None:
    """Build ``args.database`` from a plan of `total` images; unreadable ones are logged and left out, as in Caffe.

    Args:
        log_bad: logs the image of an index, with the reason.
        processed: where Caffe's tool prints "Processed N files.", at each thousand and at the end.
    """
    from caffecompat.data.build import write_database

    bad: set[int] = set()
    logged = 0

    with live_line(total, "images", args.progress) as update:

        def on_progress(done: int) -> None:
            nonlocal logged
            update(done, "")
            files = done - len(bad)
            for thousand in range(logged + 1000, files + 1, 1000):
                glog.info(f"Processed {thousand} files.", processed[0])
                logged = thousand
            if done == total and files % 1000:
                glog.info(f"Processed {files} files.", processed[1])

        def on_bad(index: int, why: str) -> None:
            bad.add(index)
            log_bad(index, why)

        def on_start(done: int) -> None:
            nonlocal logged
            glog.info(f"Opened {args.backend} {args.database}", OPENED[args.backend])
            if done:
                glog.info(f"Continuing {args.database}.partial after {done} images")
                logged = done // 1000 * 1000

        report = write_database(
            args.database,
            plan,
            skip_bad=True,
            threads=args.threads,
            on_progress=on_progress,
            on_bad=on_bad,
            on_start=on_start,
        )
    if report.bad:
        glog.warning(f"{len(report.bad)} of {total} images could not be read and are not in {args.database}")
