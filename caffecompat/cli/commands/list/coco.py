"""COCO: pictures and an annotation file for each, and a label map.

train.txt, val.txt as 'picture annotation.json' lines, and labelmap.prototxt (80 classes, 1 to 80). 'lmdb build' also
takes the instances as they are.
"""

from __future__ import annotations

import argparse

from caffecompat.cli.common.data_set_lists import list_flags, write_lists

HELP = "pictures and annotations of COCO"


def add_flags(parser: argparse.ArgumentParser) -> None:
    list_flags(parser, "folder of annotations, train2017, val2017", made="annotation files")


def run(args: argparse.Namespace) -> int:
    from caffecompat.data.lists.coco import list_coco

    return write_lists(args, list_coco)
