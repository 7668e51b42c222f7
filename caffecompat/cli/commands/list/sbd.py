"""SBD: pictures and class numbers, and trainaug.txt with Pascal VOC 2012.

train.txt, val.txt as 'picture label-picture' lines, and classes.txt. The classes in cls/*.mat become PNGs in cls_png;
that needs scipy (pip install 'caffecompat[sbd]'). trainaug.txt has SBD's pictures and VOC's train without VOC's val.
"""

from __future__ import annotations

import argparse

from caffecompat.cli.common.data_set_lists import list_flags, write_lists

HELP = "pictures and class numbers of SBD, trainaug with VOC"


def add_flags(parser: argparse.ArgumentParser) -> None:
    list_flags(parser, "benchmark_RELEASE, or its folder dataset", made="label pictures")
    parser.add_argument("--voc", metavar="DIR", help="VOC2012, for trainaug.txt (default: where ROOT has it)")


def run(args: argparse.Namespace) -> int:
    from caffecompat.data.lists.sbd import list_sbd

    return write_lists(args, list_sbd, voc=args.voc)
