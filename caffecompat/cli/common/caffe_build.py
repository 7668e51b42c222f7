"""What convert_imageset and convert_annoset share: their flags, and a build that logs as Caffe's tools do."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from caffecompat import glog
from caffecompat.cli.common.flags import SEED, SIDE, THREADS, UsageError, add_switch
from caffecompat.cli.common.progress import live_line, progress_flag

if TYPE_CHECKING:
    from caffecompat.data.build import BuildReport

__all__ = ["OPENED", "build_logged", "list_flags", "record_flags", "record_settings"]

OPENED = {"lmdb": "db_lmdb.cpp:35", "leveldb": "db_leveldb.cpp:18"}


def list_flags(parser: argparse.ArgumentParser, line: str) -> None:
    """Add the positional arguments and how the list is read; `line` says what a line of it holds."""
    parser.add_argument("root", metavar="ROOTFOLDER", help="put before each path of the list")
    parser.add_argument("list", metavar="LISTFILE", help=f"text file of lines {line}")
    parser.add_argument("database", metavar="DB_NAME", help="folder to make; must not exist")
    add_switch(parser, "gray", "treat images as gray ones")
    add_switch(parser, "shuffle", "shuffle the order of the images")
    parser.add_argument(
        "--seed",
        type=SEED,
        default=0,
        metavar="N",
        help="of the shuffling; another number, another order",
    )
    parser.add_argument("--backend", default="lmdb", choices=("lmdb", "leveldb"), help="default lmdb")


def record_flags(parser: argparse.ArgumentParser) -> None:
    """Add what becomes of each image, and how the work is done."""
    parser.add_argument("--resize-width", type=SIDE, default=0, metavar="N", help="width images are resized to")
    parser.add_argument("--resize-height", type=SIDE, default=0, metavar="N", help="height images are resized to")
    add_switch(parser, "check-size", "all records must have the same size")
    add_switch(parser, "encoded", "keep encoded images (the files' own bytes where nothing changes them)")
    parser.add_argument("--encode-type", default="", metavar="KIND", help="encode images as png, jpg, ...")
    parser.add_argument("--threads", type=THREADS, default=0, metavar="N", help="that encode (default: one a core)")
    progress_flag(parser)


def build_logged(
    args: argparse.Namespace,
    tool: str,
    lines: Sequence[int],
    total: int,
    build: Callable[..., BuildReport],
    log_bad: Callable[[Any, str], None],
) -> None:
    """Build ``args.database`` with the lines that Caffe's tool logs; unreadable images are logged and left out.

    Args:
        tool: its source file.
        lines: where in it the messages are: shuffling, how many images, encoding, "Processed N files." at each
            thousand and at the end.
        total: how many images the list has.
        build: does it; takes ``on_start``, ``on_progress`` and ``on_bad``.
        log_bad: logs an entry of the list that cannot be read, with the reason.
    """
    if args.shuffle:
        glog.info("Shuffling data", f"{tool}:{lines[0]}")
    glog.info(f"A total of {total} images.", f"{tool}:{lines[1]}")
    if args.encode_type and not args.encoded:
        glog.info("encode_type specified, assuming encoded=true.", f"{tool}:{lines[2]}")
    bad = logged = 0

    with live_line(total, "images", args.progress) as update:

        def on_progress(done: int) -> None:
            nonlocal logged
            update(done, "")
            files = done - bad
            for thousand in range(logged + 1000, files + 1, 1000):
                glog.info(f"Processed {thousand} files.", f"{tool}:{lines[3]}")
                logged = thousand
            if done == total and files % 1000:
                glog.info(f"Processed {files} files.", f"{tool}:{lines[4]}")

        def on_bad(entry: Any, why: str) -> None:
            nonlocal bad
            bad += 1
            log_bad(entry, why)

        def on_start(done: int) -> None:
            nonlocal logged
            glog.info(f"Opened {args.backend} {args.database}", OPENED[args.backend])
            if done:
                glog.info(f"Continuing {args.database}.partial after {done} images")
                logged = done // 1000 * 1000

        report = build(on_start=on_start, on_progress=on_progress, on_bad=on_bad)
    if report.bad:
        glog.warning(f"{len(report.bad)} of {total} images could not be read and are not in {args.database}")


def record_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The flags of `list_flags` and `record_flags` as the arguments of `caffecompat.convert_imageset`."""
    sides = max(0, args.resize_height), max(0, args.resize_width)
    if any(sides) and not all(sides):
        raise UsageError("--resize-height and --resize-width belong together: give both, or neither")
    return {
        "size": sides if any(sides) else None,
        "color": not args.gray,
        "encoded": args.encoded,
        "encode_type": args.encode_type,
        "check_size": args.check_size,
        "shuffle": args.shuffle,
        "seed": args.seed,
        "backend": args.backend,
        "threads": args.threads,
    }
