"""Make a database of a list, class folders, image and label pairs, Pascal VOC or COCO."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from caffecompat import glog
from caffecompat.cli.common.flags import COUNT, SEED, SIDE, THREADS, UsageError, add_switch, check_companions
from caffecompat.cli.common.outputs import make_folder_above
from caffecompat.cli.common.picture_flags import parse_size
from caffecompat.cli.common.progress import progress_flag
from caffecompat.cli.common.record_progress import record_progress
from caffecompat.files import read_text

HELP = "make a database of a list, class folders, image and label pairs, Pascal VOC or COCO"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        metavar="LIST|FOLDER|JSON",
        help="lines 'path label', 'image label-image' or 'image annotation.xml'; a folder of class folders; a Pascal "
        "VOC folder; COCO's instances_*.json (--root is the images' folder)",
    )
    parser.add_argument("out", metavar="OUT", help="folder to make; must not exist")
    parser.add_argument(
        "--root", metavar="DIR", help="folder of the list's relative paths (current one, or the list's)"
    )
    parser.add_argument(
        "--resize", metavar="WxH", help="resize pictures (bilinear) and labels (nearest), as in 512x256"
    )
    parser.add_argument("--resize-height", type=SIDE, default=0, metavar="N", help="the same, in Caffe's words")
    parser.add_argument("--resize-width", type=SIDE, default=0, metavar="N", help="with --resize-height")
    parser.add_argument("--encode", default="auto", metavar="KIND",
                        help="auto (a file's own bytes where nothing changes them), png, jpg, raw")  # fmt: skip
    add_switch(parser, "gray", "one channel")
    parser.add_argument("--set", default="trainval", metavar="NAME",
                        help="of a VOC folder: the list in ImageSets/Main (default trainval)")  # fmt: skip
    parser.add_argument("--labelmap", metavar="FILE", help="numbers of the annotations' classes (default: those found, "
                        "in the order of names or ids, from 1)")  # fmt: skip
    add_switch(parser, "shuffle", "shuffle the records (class folders always are, unless --noshuffle is given)")
    parser.set_defaults(shuffle=None)
    parser.add_argument("--seed", type=SEED, default=0, metavar="N", help="of the shuffling and of --augment")
    parser.add_argument("--names", metavar="FILE", help="class names, one a line, to keep with the database")
    parser.add_argument("--backend", default="lmdb", choices=("lmdb", "leveldb"), help="default lmdb")
    parser.add_argument(
        "--shards", type=COUNT, default=1, metavar="N", help="spread the records over N databases; OUT is read as one"
    )
    parser.add_argument(
        "--augment", type=COUNT, default=0, metavar="K", help="each record K times, each time changed at random"
    )
    parser.add_argument(
        "--transform", default="", metavar="FILE", help="a transform_param that says how (default: mirror and colors)"
    )
    add_switch(parser, "skip-bad", "leave out images that are missing or damaged")
    parser.add_argument("--threads", type=THREADS, default=0, metavar="N", help="that encode (default: one a core)")
    progress_flag(parser)


def run(args: argparse.Namespace) -> int:
    from caffecompat.data.build import write_database
    from caffecompat.data.database_plan import plan_database
    from caffecompat.data.recipes import ImageOptions

    check_companions("lmdb build", [("--transform", "--augment", args.transform and not args.augment)])
    plan = plan_database(
        args.source,
        ImageOptions(not args.gray, *_size(args), args.encode),
        root=args.root,
        which=args.set,
        label_map=args.labelmap or "",
        shuffle=args.shuffle,
        seed=args.seed,
        names=_names(args),
        backend=args.backend,
        skip_missing=args.skip_bad,
        augment=args.augment,
        transform=args.transform,
    )
    plan.shards = args.shards
    make_folder_above(args.out)

    def on_start(done: int) -> None:
        if done:
            glog.info(f"Continuing {args.out}.partial after {done} records", "lmdb.py:1")

    with record_progress(len(plan.keys), args.progress) as step:
        report = write_database(
            args.out,
            plan,
            skip_bad=args.skip_bad,
            threads=args.threads,
            on_progress=step,
            on_bad=lambda index, why: glog.warning(f"left out: {why}", "lmdb.py:1") if args.skip_bad else None,
            on_start=on_start,
        )
    rate = (len(plan.keys) - report.resumed_at) / max(report.seconds, 1e-9)
    left_out = f", {len(report.bad)} left out" if report.bad else ""
    spread = f" in {plan.shards} shards" if plan.shards > 1 else ""
    databases = " and ".join(f"{args.out}/{part}" if part else args.out for part in plan.parts)
    print(f"{databases}: {report.written} records{spread}{left_out}, {report.seconds:.1f} s ({rate:.3g} a second)")
    return 0


def _size(args: argparse.Namespace) -> tuple[int, int]:
    """(height, width) to resize to, or (0, 0)."""
    if args.resize and (args.resize_height or args.resize_width):
        raise UsageError("take one of --resize and --resize-height with --resize-width")
    return parse_size(args.resize, "resize") or (args.resize_height, args.resize_width)


def _names(args: argparse.Namespace) -> Sequence[str]:
    if not args.names:
        return ()
    lines = read_text(args.names, "the class names", UsageError).split("\n")
    return [line.strip() for line in lines if line.strip()]
