"""`caffecompat lmdb build`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any

from caffecompat import glog
from caffecompat.cli.flags import UsageError, add_switch
from caffecompat.cli.outputs import make_folder_above
from caffecompat.cli.progress import progress_flag
from caffecompat.cli.record_progress import record_progress
from caffecompat.files import read_text

if TYPE_CHECKING:
    from caffecompat.data.annotated_recipes import DetectionSet
    from caffecompat.data.build import Plan

HELP = "make a database of a list, class folders, image and label pairs, Pascal VOC or COCO"

_MOST_MISSING = 100


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
    parser.add_argument("--resize-height", type=int, default=0, metavar="N", help="resize; labels by nearest")
    parser.add_argument("--resize-width", type=int, default=0, metavar="N")
    parser.add_argument("--encode", default="auto", metavar="KIND",
                        help="auto (a file's own bytes where nothing changes them), png, jpg, raw")  # fmt: skip
    add_switch(parser, "gray", "one channel")
    parser.add_argument("--set", default="trainval", metavar="NAME",
                        help="of a VOC folder: the list in ImageSets/Main (default trainval)")  # fmt: skip
    parser.add_argument("--labelmap", metavar="FILE", help="numbers of the annotations' classes (default: those found, "
                        "in the order of names or ids, from 1)")  # fmt: skip
    add_switch(parser, "shuffle", "mix the records (class folders always are, but for --noshuffle)")
    parser.set_defaults(shuffle=None)
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the shuffling")
    parser.add_argument("--names", metavar="FILE", help="class names, one a line, to keep with the database")
    parser.add_argument("--backend", default="lmdb", choices=("lmdb", "leveldb"), help="default lmdb")
    add_switch(parser, "skip-bad", "leave out images that are missing or damaged")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="that encode (default: one a core)")
    progress_flag(parser)


def run(args: argparse.Namespace) -> int:
    from caffecompat.data.build import write_database

    plan = _plan(args)
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
    databases = " and ".join(f"{args.out}/{part}" if part else args.out for part in plan.parts)
    print(f"{databases}: {report.written} records{left_out}, {report.seconds:.1f} s ({rate:.3g} a second)")
    return 0


def _plan(args: argparse.Namespace) -> Plan:
    import os
    import random

    from caffecompat.data.recipes import ImageOptions, class_folder_entries, image_plan, pair_plan
    from caffecompat.formats.image_list import lists_pairs, read_image_list, read_pair_list

    options = ImageOptions(not args.gray, args.resize_height, args.resize_width, args.encode)
    annotated = _annotated_set(args)
    if annotated is not None:
        from caffecompat.data.annotated_recipes import detection_plan

        if args.shuffle:
            annotated = annotated.shuffled(args.seed)
        places = list(zip(annotated.paths, annotated.lines or repeat(0), strict=False))
        _missing(places, annotated.where, annotated.folder, args.skip_bad)
        return detection_plan(annotated, options, backend=args.backend)
    if os.path.isdir(args.source):
        seed = None if args.shuffle is False else args.seed
        images, classes = class_folder_entries(args.source, shuffle_seed=seed)
        return image_plan(images, "", options, root=args.source, backend=args.backend, classes=_names(args) or classes)
    pairs = lists_pairs(args.source)
    entries: list[Any] = read_pair_list(args.source) if pairs else read_image_list(args.source)
    root = _root(args, entries[0][0])
    names = [(entry[0], entry.line) for entry in entries]
    if pairs:
        names += [(entry.label, entry.line) for entry in entries]
    _missing(names, args.source, root, args.skip_bad)
    if args.shuffle:
        random.Random(args.seed).shuffle(entries)
    if pairs:
        return pair_plan(entries, args.source, options, root=root, backend=args.backend, classes=_names(args))
    return image_plan(entries, args.source, options, root=root, backend=args.backend, classes=_names(args))


def _missing(files: Sequence[tuple[str, int]], where: str, root: str, skip: bool) -> None:
    """Name what is not there before hours of work on the rest."""
    from caffecompat.data.build import BuildError
    from caffecompat.data.recipes import missing_files

    missing = [] if skip else missing_files(files, where, root)
    if missing:
        shown = "\n".join(f"  {line}" for line in missing[:_MOST_MISSING])
        more = f"\n  ... and {len(missing) - _MOST_MISSING} more" if len(missing) > _MOST_MISSING else ""
        raise BuildError(
            f"{len(missing)} of {len(files)} files are missing:\n{shown}{more}\n"
            "Give the folder of relative paths with --root, or leave these out with --skip-bad."
        )


def _annotated_set(args: argparse.Namespace) -> DetectionSet | None:
    """The pictures with boxes that SOURCE means, or None: it means something else."""
    import os

    from caffecompat.data.annotated_recipes import coco_set, is_voc_folder, listed_set, voc_set
    from caffecompat.formats.image_list import lists_pairs, read_pair_list
    from caffecompat.formats.label_map import read_class_numbers

    numbers, text = None, ""
    if args.labelmap:
        numbers = read_class_numbers(args.labelmap)
        text = read_text(args.labelmap, "the label map")
    if os.path.isdir(args.source):
        return voc_set(args.source, args.set, numbers, text) if is_voc_folder(args.source) else None
    if args.source.lower().endswith(".json"):
        return coco_set(args.source, args.root or os.path.dirname(args.source), numbers, text)
    if not lists_pairs(args.source):
        return None
    first = read_pair_list(args.source)[0]
    if not first.label.lower().endswith((".xml", ".json", ".txt")):
        return None
    return listed_set(args.source, _root(args, first.image), numbers, text)


def _names(args: argparse.Namespace) -> Sequence[str]:
    if not args.names:
        return ()
    lines = read_text(args.names, "the class names", UsageError).split("\n")
    return [line.strip() for line in lines if line.strip()]


def _root(args: argparse.Namespace, first: str) -> str:
    """--root; else relative paths start from the current folder, as in Caffe, or else from the list's."""
    import os

    beside = os.path.dirname(args.source)
    if args.root is None and beside and not os.path.exists(first) and os.path.exists(os.path.join(beside, first)):
        glog.info(f"{first} is not in the current directory; taking the list's paths from {beside}", "lmdb.py:1")
        return beside
    return args.root or ""
