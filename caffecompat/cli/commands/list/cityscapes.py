"""Cityscapes: pictures and fine labels of the 19 classes.

train.txt, val.txt, test.txt as 'picture label-picture' lines, and classes.txt. labelIds become labelTrainIds, 255 for
what is not trained, where these are absent.
"""

from __future__ import annotations

import argparse

from caffecompat.cli.common.data_set_lists import list_flags, write_lists

HELP = "pictures and labels of Cityscapes"


def add_flags(parser: argparse.ArgumentParser) -> None:
    list_flags(parser, "folder of leftImg8bit and gtFine", made="label pictures")


def run(args: argparse.Namespace) -> int:
    from caffecompat.data.lists.cityscapes import list_cityscapes

    return write_lists(args, list_cityscapes)
