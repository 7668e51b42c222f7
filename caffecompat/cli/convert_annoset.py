"""Make a database of images and annotations, as SSD's convert_annoset does: same keys, same records.

    caffecompat convert_annoset --anno_type=detection --label_map_file=labelmap_voc.prototxt \\
        --encode_type=jpg --encoded VOCdevkit/ trainval.txt VOC0712_trainval_lmdb

Each line of LISTFILE is 'image annotation-file' (detection) or 'image label' (classification); ROOTFOLDER is put before
each path as it is, so it ends in '/'. An interrupted conversion leaves DB_NAME.partial; the same command goes on with
it. 'lmdb build' reads VOC folders and COCO files as they are.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from caffecompat import glog
from caffecompat.cli.convert_imageset import OPENED
from caffecompat.cli.flags import UsageError, add_switch
from caffecompat.cli.progress import live_line, progress_flag

if TYPE_CHECKING:
    from caffecompat.data.build import Plan

HELP = "make a database of images and annotations (SSD)"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", metavar="ROOTFOLDER", help="put before each path of the list")
    parser.add_argument("list", metavar="LISTFILE", help="text file of lines 'image annotation-file' or 'image label'")
    parser.add_argument("database", metavar="DB_NAME", help="folder to make; must not exist")
    add_switch(parser, "gray", "treat images as grey ones")
    add_switch(parser, "shuffle", "shuffle the order of the images")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the shuffling")
    parser.add_argument("--backend", default="lmdb", choices=("lmdb", "leveldb"), help="default lmdb")
    parser.add_argument("--anno-type", default="classification", choices=("classification", "detection"),
                        help="default classification")  # fmt: skip
    parser.add_argument("--label-type", default="xml", choices=("xml", "json", "txt"),
                        help="format of the annotation files (default xml)")  # fmt: skip
    parser.add_argument("--label-map-file", default="", metavar="FILE", help="text file with a LabelMap")
    add_switch(parser, "check-label", "the label map must not give a name twice")
    parser.add_argument("--min-dim", type=int, default=0, metavar="N", help="least length of the shorter side")
    parser.add_argument("--max-dim", type=int, default=0, metavar="N", help="greatest length of the longer side")
    parser.add_argument("--resize-width", type=int, default=0, metavar="N", help="width images are resized to")
    parser.add_argument("--resize-height", type=int, default=0, metavar="N", help="height images are resized to")
    add_switch(parser, "check-size", "all records must have the same size")
    add_switch(parser, "encoded", "keep encoded images (the files' own bytes where nothing changes them)")
    parser.add_argument("--encode-type", default="", metavar="KIND", help="encode images as png, jpg, ...")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="that encode (default: one a core)")
    progress_flag(parser)


def run(args: argparse.Namespace) -> int:
    from caffecompat.data.build import build_database

    entries, plan = _plan(args)
    with live_line(len(entries), "images", args.progress) as update:
        logged = [0]
        bad: dict[int, str] = {}

        def on_progress(done: int) -> None:
            update(done, "")
            files = done - len(bad)
            for thousand in range(logged[-1] + 1000, files + 1, 1000):
                glog.info(f"Processed {thousand} files.", "convert_annoset.cpp:198")
                logged.append(thousand)
            if done == len(entries) and files % 1000:
                glog.info(f"Processed {files} files.", "convert_annoset.cpp:204")

        def on_bad(index: int, why: str) -> None:
            bad[index] = why
            glog.warning(f"Failed to read {entries[index][0]} ({args.list}:{entries[index].line}: {why})",
                         "convert_annoset.cpp:171")  # fmt: skip

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


def _plan(args: argparse.Namespace) -> tuple[list[Any], Plan]:
    import random

    from caffecompat.data.annotated_recipes import annoset_plan
    from caffecompat.formats.image_list import read_image_list, read_pair_list
    from caffecompat.formats.label_map import read_class_numbers

    detection = args.anno_type == "detection"
    if detection and args.label_type != "txt" and not args.label_map_file:
        raise UsageError("convert_annoset --anno_type=detection needs --label_map_file (create_label_map makes one)")
    numbers = read_class_numbers(args.label_map_file, unique=args.check_label) if args.label_map_file else {}
    entries: list[Any] = read_pair_list(args.list) if detection else read_image_list(args.list)
    if args.shuffle:
        glog.info("Shuffling data", "convert_annoset.cpp:119")
        random.Random(args.seed).shuffle(entries)
    glog.info(f"A total of {len(entries)} images.", "convert_annoset.cpp:122")
    if args.encode_type and not args.encoded:
        glog.info("encode_type specified, assuming encoded=true.", "convert_annoset.cpp:125")
    plan = annoset_plan(
        args.root,
        entries,
        label_type=args.label_type,
        numbers=numbers,
        color=not args.gray,
        height=max(0, args.resize_height),
        width=max(0, args.resize_width),
        min_dim=max(0, args.min_dim),
        max_dim=max(0, args.max_dim),
        encoded=args.encoded,
        encode_type=args.encode_type,
        backend=args.backend,
        check_size=args.check_size,
    )
    return entries, plan
