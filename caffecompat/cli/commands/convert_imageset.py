"""Make a database of the images in a list, as Caffe's convert_imageset does: same keys, same records.

    caffecompat convert_imageset --resize_height=256 --resize_width=256 --shuffle images/ train.txt train_lmdb

Each line of LISTFILE is 'path label'; ROOTFOLDER is put before the path as it is, so it ends in '/'.
An interrupted conversion leaves DB_NAME.partial; the same command goes on with it.
'lmdb build' makes databases of class folders and of image and label pairs too, and checks the list first.
"""

from __future__ import annotations

import argparse

from caffecompat import glog
from caffecompat.cli.common.caffe_build import build_logged, list_flags, ready_list, record_flags

HELP = "make a database of the images in a list"


def add_flags(parser: argparse.ArgumentParser) -> None:
    list_flags(parser, "'path label'")
    record_flags(parser)


def run(args: argparse.Namespace) -> int:
    from caffecompat.data.recipes import caffe_plan
    from caffecompat.formats.image_list import read_image_list

    entries = read_image_list(args.list)
    ready_list(args, entries, "convert_imageset.cpp", (86, 89, 92))
    plan = caffe_plan(
        args.root,
        entries,
        color=not args.gray,
        height=max(0, args.resize_height),
        width=max(0, args.resize_width),
        encoded=args.encoded,
        encode_type=args.encode_type,
        backend=args.backend,
        check_size=args.check_size,
    )

    def log_bad(index: int, why: str) -> None:
        entry = entries[index]
        where = f"{args.list}:{entry.line}: {why}"
        glog.error(f"Could not open or find file {args.root}{entry.path} ({where})", "io.cpp:80")

    build_logged(args, plan, len(entries), log_bad, ("convert_imageset.cpp:147", "convert_imageset.cpp:153"))
    return 0
