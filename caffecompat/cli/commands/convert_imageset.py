"""Make a database of the images in a list, as Caffe's convert_imageset does: same keys, same records.

    caffecompat convert_imageset --resize_height=256 --resize_width=256 --shuffle images/ train.txt train_lmdb

Each line of LISTFILE is 'path label'; ROOTFOLDER is put before the path as it is, so it ends in '/'.
An interrupted conversion leaves DB_NAME.partial; the same command goes on with it.
'lmdb build' makes databases of class folders and of image and label pairs too, and checks the list first.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from caffecompat import glog
from caffecompat.cli.common.caffe_build import build_logged, list_flags, record_flags, record_settings

if TYPE_CHECKING:
    from caffecompat.formats.image_list import ListedImage

HELP = "make a database of the images in a list"


def add_flags(parser: argparse.ArgumentParser) -> None:
    list_flags(parser, "'path label'")
    record_flags(parser)


def run(args: argparse.Namespace) -> int:
    from caffecompat.data.convert import convert_imageset
    from caffecompat.formats.image_list import read_image_list

    def log_bad(entry: ListedImage, why: str) -> None:
        where = f"{args.list}:{entry.line}: {why}"
        glog.error(f"Could not open or find file {args.root}{entry.path} ({where})", "io.cpp:80")

    total = len(read_image_list(args.list))
    build = partial(convert_imageset, args.root, args.list, args.database, **record_settings(args))
    build_logged(args, "convert_imageset.cpp", (86, 89, 92, 147, 153), total, build, log_bad)
    return 0
