"""Make a label map of a list of class names, as SSD's create_label_map does.

    caffecompat create_label_map --include_background=true names.txt labelmap.prototxt

Each line of MAPFILE is 'name', 'name label' or 'name label displayname', all lines alike; without labels the
classes are numbered from 0, or after the background.
"""

from __future__ import annotations

import argparse

from caffecompat.cli.common.flags import add_switch
from caffecompat.cli.common.outputs import output

HELP = "make a label map of a list of class names (SSD)"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("map", metavar="MAPFILE", help="text file of lines 'name [label] [displayname]'")
    parser.add_argument("out", type=output("a prototxt"), metavar="OUTFILE", help="label map to write")
    add_switch(parser, "include-background", "put none_of_the_above before the others as class 0")
    parser.add_argument("--delimiter", default=" ", metavar="CHARS", help="that separate fields (default: blank)")


def run(args: argparse.Namespace) -> int:
    from caffecompat.formats.label_map import create_label_map

    create_label_map(args.map, args.out, include_background=args.include_background, delimiter=args.delimiter)
    return 0
