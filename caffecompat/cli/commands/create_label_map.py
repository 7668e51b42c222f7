"""Make a label map of a list of class names, as SSD's create_label_map does.

    caffecompat create_label_map --include_background=true names.txt labelmap.prototxt

Each line of MAPFILE is 'name', 'name label' or 'name label displayname', all lines alike; without labels the
classes are numbered from 0, or after the background.
"""

from __future__ import annotations

import argparse
import re

from caffecompat.cli.common.flags import UsageError, add_switch
from caffecompat.cli.common.outputs import output
from caffecompat.files import read_text

HELP = "make a label map of a list of class names (SSD)"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("map", metavar="MAPFILE", help="text file of lines 'name [label] [displayname]'")
    parser.add_argument("out", type=output("a prototxt"), metavar="OUTFILE", help="label map to write")
    add_switch(parser, "include-background", "put none_of_the_above before the others as class 0")
    parser.add_argument("--delimiter", default=" ", metavar="CHARS", help="that separate fields (default: blank)")


def run(args: argparse.Namespace) -> int:
    from caffecompat.formats.atomic import atomic_write
    from caffecompat.schema import pb, write_text

    lines = read_text(args.map, "the class names", UsageError).splitlines()
    label_map = pb.LabelMap()
    label = 0
    if args.include_background:
        label_map.item.add(name="none_of_the_above", label=0, display_name="background")
        label = 1
    columns = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        fields = re.split("[" + re.escape(args.delimiter) + "]", line) if args.delimiter else [line]
        columns = columns or len(fields)
        if len(fields) != columns or columns > 3:
            raise UsageError(f"{args.map}:{number}: expected {min(columns, 3)} field(s) as in the first line, found "
                             f"{len(fields)}: {line!r} (--delimiter {args.delimiter!r})")  # fmt: skip
        label = _label(args.map, number, fields[1]) if columns > 1 else label
        label_map.item.add(name=fields[0], label=label, display_name=fields[2] if columns == 3 else fields[0])
        label += columns == 1
    with atomic_write(args.out) as out:
        out.write(write_text(label_map).encode())
    return 0


def _label(path: str, line: int, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{path}:{line}: the label {text!r} is not a whole number") from None
