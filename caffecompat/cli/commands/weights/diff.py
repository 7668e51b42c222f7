"""Compare two files of weights, layer by layer: caffemodel, HDF5, safetensors or npz.

Exit status 1 when they differ by more than --tolerance, or do not have the same blobs. NaN and infinity are equal to
the same value at the same place alone; blobs that hold them are named.
"""

from __future__ import annotations

import argparse
import json

from caffecompat.cli.common.flags import add_switch, finite

HELP = "compare two files of weights, blob by blob"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", metavar="A", help="a file of weights")
    parser.add_argument("second", metavar="B", help="another one")
    parser.add_argument("--tolerance", type=finite, default=0.0, metavar="T", help="largest difference allowed (0)")
    add_switch(parser, "all", "list equal blobs too")
    add_switch(parser, "json", "one JSON object instead of the table")


def run(args: argparse.Namespace) -> int:
    from caffecompat.report.blob_differences import diff_weights, nonfinite_lines, table_lines

    rows = diff_weights(args.first, args.second)
    different = [row for row in rows if row.problem or not row.largest <= args.tolerance]
    shown = rows if args.all else different
    if args.json:
        blobs = [row.as_json() for row in shown]
        print(json.dumps({"a": args.first, "b": args.second, "blobs": blobs}, indent=1))
    else:
        if shown:
            print(*table_lines(shown), sep="\n")
        for line in nonfinite_lines(rows):
            print(line)
        print(f"{len(different)} of {len(rows)} blobs differ")
    return 1 if different else 0
