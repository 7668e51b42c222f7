"""Pascal VOC: pictures and annotations, and a label map.

train.txt, val.txt, trainval.txt, test.txt of ImageSets/Main as 'picture annotation.xml' lines, and labelmap.prototxt.
"""

from __future__ import annotations

import argparse

from caffecompat.cli.common.data_set_lists import list_flags, write_lists

HELP = "pictures and annotations of Pascal VOC"


def add_flags(parser: argparse.ArgumentParser) -> None:
    list_flags(parser, "VOC2012, or a folder of years (VOCdevkit)")


def run(args: argparse.Namespace) -> int:
    from caffecompat.data.lists.voc import list_voc

    return write_lists(args, list_voc)
