"""Make a database of images and annotations, as SSD's convert_annoset does: same keys, same records.

    caffecompat convert_annoset --anno_type=detection --label_map_file=labelmap_voc.prototxt \\
        --encode_type=jpg --encoded VOCdevkit/ trainval.txt VOC0712_trainval_lmdb

Each line of LISTFILE is 'image annotation-file' (detection) or 'image label' (classification); ROOTFOLDER is put before
each path as it is, so it ends in '/'. An interrupted conversion leaves DB_NAME.partial; the same command goes on with
it. 'lmdb build' reads VOC folders and COCO files as they are.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from caffecompat import glog
from caffecompat.cli.common.caffe_build import build_logged, list_flags, record_flags, record_settings
from caffecompat.cli.common.flags import SIDE, add_switch

if TYPE_CHECKING:
    from caffecompat.formats.image_list import ListedImage, ListedPair

HELP = "make a database of images and annotations (SSD)"


def add_flags(parser: argparse.ArgumentParser) -> None:
    list_flags(parser, "'image annotation-file' or 'image label'")
    parser.add_argument("--anno-type", default="classification", choices=("classification", "detection"),
                        help="default classification")  # fmt: skip
    parser.add_argument("--label-type", default="xml", choices=("xml", "json", "txt"),
                        help="format of the annotation files (default xml)")  # fmt: skip
    parser.add_argument("--label-map-file", default="", metavar="FILE", help="text file with a LabelMap")
    add_switch(parser, "check-label", "the label map must not give a name twice")
    parser.add_argument("--min-dim", type=SIDE, default=0, metavar="N", help="least length of the shorter side")
    parser.add_argument("--max-dim", type=SIDE, default=0, metavar="N", help="greatest length of the longer side")
    record_flags(parser)


def run(args: argparse.Namespace) -> int:
    from caffecompat.data.convert import convert_annoset
    from caffecompat.formats.image_list import read_image_list, read_pair_list

    def log_bad(entry: ListedImage | ListedPair, why: str) -> None:
        glog.warning(f"Failed to read {entry[0]} ({args.list}:{entry.line}: {why})", "convert_annoset.cpp:171")

    total = len(read_pair_list(args.list) if args.anno_type == "detection" else read_image_list(args.list))
    build = partial(
        convert_annoset,
        args.root,
        args.list,
        args.database,
        anno_type=args.anno_type,
        label_type=args.label_type,
        label_map=args.label_map_file or None,
        check_label=args.check_label,
        min_dim=max(0, args.min_dim),
        max_dim=max(0, args.max_dim),
        **record_settings(args),
    )
    build_logged(args, "convert_annoset.cpp", (119, 122, 125, 198, 204), total, build, log_bad)
    return 0
