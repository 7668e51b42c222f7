"""Pascal VOC: pictures and their class numbers.

train.txt, val.txt, trainval.txt of ImageSets/Segmentation as 'picture label-picture' lines, and classes.txt. Palette
pictures become gray ones of class numbers, in SegmentationClassRaw.
"""

from __future__ import annotations

import argparse

from caffecompat.cli.common.data_set_lists import list_flags, write_lists

HELP = "pictures and class numbers of Pascal VOC"


def add_flags(parser: argparse.ArgumentParser) -> None:
    list_flags(parser, "VOC2012, or a folder of years (VOCdevkit)", made="label pictures")


def run(args: argparse.Namespace) -> int:
    from caffecompat.data.lists.voc_segmentation import list_voc_segmentation

    return write_lists(args, list_voc_segmentation)
