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
from caffecompat.cli.common.caffe_build import build_logged, list_flags, ready_list, record_flags
from caffecompat.cli.common.flags import UsageError, add_switch

if TYPE_CHECKING:
    from caffecompat.data.build import Plan

HELP = "make a database of images and annotations (SSD)"


def add_flags(parser: argparse.ArgumentParser) -> None:
    list_flags(parser, "'image annotation-file' or 'image label'")
    parser.add_argument("--anno-type", default="classification", choices=("classification", "detection"),
                        help="default classification")  # fmt: skip
    parser.add_argument("--label-type", default="xml", choices=("xml", "json", "txt"),
                        help="format of the annotation files (default xml)")  # fmt: skip
    parser.add_argument("--label-map-file", default="", metavar="FILE", help="text file with a LabelMap")
    add_switch(parser, "check-label", "the label map must not give a name twice")
    parser.add_argument("--min-dim", type=int, default=0, metavar="N", help="least length of the shorter side")
    parser.add_argument("--max-dim", type=int, default=0, metavar="N", help="greatest length of the longer side")
    record_flags(parser)


def run(args: argparse.Namespace) -> int:
    entries, plan = _plan(args)

    def log_bad(index: int, why: str) -> None:
        entry = entries[index]
        glog.warning(f"Failed to read {entry[0]} ({args.list}:{entry.line}: {why})", "convert_annoset.cpp:171")

    build_logged(args, plan, len(entries), log_bad, ("convert_annoset.cpp:198", "convert_annoset.cpp:204"))
    return 0


def _plan(args: argparse.Namespace) -> tuple[list[Any], Plan]:
    from caffecompat.data.annotated_recipes import annoset_plan
    from caffecompat.formats.image_list import read_image_list, read_pair_list
    from caffecompat.formats.label_map import read_class_numbers

    detection = args.anno_type == "detection"
    if detection and args.label_type != "txt" and not args.label_map_file:
        raise UsageError("convert_annoset --anno_type=detection needs --label_map_file (create_label_map makes one)")
    numbers = read_class_numbers(args.label_map_file, unique=args.check_label) if args.label_map_file else {}
    entries: list[Any] = read_pair_list(args.list) if detection else read_image_list(args.list)
    ready_list(args, entries, "convert_annoset.cpp", (119, 122, 125))
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
