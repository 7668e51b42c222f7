"""Make a database of the images in a list, as Caffe's convert_imageset does: same keys, same records.

    caffecompat convert_imageset --resize_height=256 --resize_width=256 --shuffle images/ train.txt train_lmdb

Each line of LISTFILE is 'path label'; ROOTFOLDER is put before the path as it is, so it ends in '/'.
An interrupted conversion leaves DB_NAME.partial; the same command goes on with it.
'lmdb build' makes databases of class folders and of image and label pairs too, and checks the list first.
"""

from __future__ import annotations

import argparse

from caffecompat import glog
from caffecompat.cli.flags import add_switch
from caffecompat.cli.progress import live_line, progress_flag

HELP = "make a database of the images in a list"

OPENED = {"lmdb": "db_lmdb.cpp:35", "leveldb": "db_leveldb.cpp:18"}


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", metavar="ROOTFOLDER", help="put before each path of the list")
    parser.add_argument("list", metavar="LISTFILE", help="text file of lines 'path label'")
    parser.add_argument("database", metavar="DB_NAME", help="folder to make; must not exist")
    add_switch(parser, "gray", "treat images as grey ones")
    add_switch(parser, "shuffle", "shuffle the order of the images")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the shuffling; another number, another order"
    )
    parser.add_argument("--backend", default="lmdb", choices=("lmdb", "leveldb"), help="default lmdb")
    parser.add_argument("--resize-width", type=int, default=0, metavar="N", help="width images are resized to")
    parser.add_argument("--resize-height", type=int, default=0, metavar="N", help="height images are resized to")
    add_switch(parser, "check-size", "all records must have the same size")
    add_switch(parser, "encoded", "keep encoded images (the files' own bytes where nothing changes them)")
    parser.add_argument("--encode-type", default="", metavar="KIND", help="encode images as png, jpg, ...")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="that encode (default: one a core)")
    progress_flag(parser)


def run(args: argparse.Namespace) -> int:
    import random

    from caffecompat.data.build import build_database
    from caffecompat.data.recipes import caffe_plan
    from caffecompat.formats.image_list import read_image_list

    entries = read_image_list(args.list)
    if args.shuffle:
        glog.info("Shuffling data", "convert_imageset.cpp:86")
        random.Random(args.seed).shuffle(entries)
    glog.info(f"A total of {len(entries)} images.", "convert_imageset.cpp:89")
    if args.encode_type and not args.encoded:
        glog.info("encode_type specified, assuming encoded=true.", "convert_imageset.cpp:92")
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
    with live_line(len(entries), "images", args.progress) as update:

        def on_progress(done: int) -> None:
            update(done, "")
            files = done - len(bad)
            for thousand in range(logged[-1] + 1000, files + 1, 1000):
                glog.info(f"Processed {thousand} files.", "convert_imageset.cpp:147")
                logged.append(thousand)
            if done == len(entries) and files % 1000:
                glog.info(f"Processed {files} files.", "convert_imageset.cpp:153")

        logged = [0]
        bad: dict[int, str] = {}

        def on_bad(index: int, why: str) -> None:
            bad[index] = why
            glog.error(f"Could not open or find file {args.root}{entries[index].path} "
                       f"({args.list}:{entries[index].line}: {why})", "io.cpp:80")  # fmt: skip

        def on_start(done: int) -> None:
            glog.info(f"Opened {args.backend} {args.database}", OPENED[args.backend])
            if done:
                glog.info(f"Continuing {args.database}.partial after {done} images")
                logged.append(done // 1000 * 1000)

        report = build_database(
            args.database,
            plan,
            skip_bad=True,
            threads=args.threads,
            on_progress=on_progress,
            on_bad=on_bad,
            on_start=on_start,
        )
    if report.bad:
        glog.warning(f"{len(report.bad)} of {len(entries)} images could not be read and are not in {args.database}")
    return 0
