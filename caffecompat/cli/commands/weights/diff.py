"""Compare two files of weights, layer by layer: caffemodel, HDF5, safetensors or npz.

Exit status 1 when they differ by more than --tolerance, or do not have the same blobs. NaN and infinity are equal to
the same value at the same place alone; blobs that hold them are named.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from caffecompat.cli.common.flags import add_switch

HELP = "compare two files of weights, blob by blob"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", metavar="A")
    parser.add_argument("second", metavar="B")
    parser.add_argument("--tolerance", type=float, default=0.0, metavar="T", help="largest difference let pass (0)")
    add_switch(parser, "all", "list equal blobs too")
    add_switch(parser, "json", "one JSON object instead of the table")


def run(args: argparse.Namespace) -> int:
    from caffecompat.cli.common.weights_files import read_blobs
    from caffecompat.report.blob_differences import compare_blobs, nonfinite_lines, table_lines

    first, second = read_blobs(args.first), read_blobs(args.second)
    rows: list[dict[str, Any]] = []
    for layer in dict.fromkeys([*first, *second]):
        if layer not in first or layer not in second:
            rows.append({"name": layer, "problem": f"only in {args.first if layer in first else args.second}"})
            continue
        ours, theirs = first[layer], second[layer]
        if len(ours) != len(theirs):
            rows.append({"name": layer, "problem": f"{len(ours)} blobs and {len(theirs)}"})
            continue
        rows += [compare_blobs(f"{layer}.{i}", a, b) for i, (a, b) in enumerate(zip(ours, theirs, strict=True))]
    different = [row for row in rows if "problem" in row or not row["largest"] <= args.tolerance]
    if args.json:
        print(json.dumps({"a": args.first, "b": args.second, "blobs": rows if args.all else different}, indent=1))
    else:
        shown = rows if args.all else different
        if shown:
            print(*table_lines(shown), sep="\n")
        for line in nonfinite_lines(rows):
            print(line)
        print(f"{len(different)} of {len(rows)} blobs differ")
    return 1 if different else 0
