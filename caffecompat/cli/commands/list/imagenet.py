"""ImageNet: pictures and classes, in the order of the WordNet ids.

train.txt, val.txt as 'picture class' lines, synsets.txt, and classes.txt where a file has the names.
"""

from __future__ import annotations

import argparse

from caffecompat.cli.common.data_set_lists import list_flags, write_lists

HELP = "pictures and classes of ImageNet"


def add_flags(parser: argparse.ArgumentParser) -> None:
    list_flags(parser, "folder of train and val")
    parser.add_argument(
        "--devkit", metavar="DIR", help="ILSVRC2012_devkit_t12: says the classes of val's pictures (default: in ROOT)"
    )


def run(args: argparse.Namespace) -> int:
    from caffecompat.data.lists.imagenet import list_imagenet

    return write_lists(args, list_imagenet, devkit=args.devkit)
