"""Compare two folders of blobs layer by layer, as dump-blobs writes them or a board's trace gives them.

    caffecompat compare-blobs desktop/ board/ --tolerance 0.02

Files of the same name are compared; of a net whose normalizations were folded, what holds the same blob then (a layer
whose result was scaled beforehand, to be joined with others, still differs). A folder may also have TIDL's float traces
(tidl_trace_*_float.bin, from debug_level 4) with the *.layer_info.txt of the compiled model: they are held against the
blobs that the exported model's values come from. Exit status 1 when a blob's largest difference exceeds --tolerance
times the largest magnitude of A's blob, or when its values are not as many; the first such layer is named. NaN and
infinity are equal to the same value at the same place alone. A file that only one folder has is named and does not
count.
"""

from __future__ import annotations

import argparse
import json

from caffecompat.cli.common.flags import add_switch, finite
from caffecompat.wording import few

HELP = "two folders of blobs, layer by layer: errors, and where they begin"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", metavar="DIR_A", help="the reference")
    parser.add_argument("second", metavar="DIR_B", help="what is compared with it")
    parser.add_argument("--tolerance", type=finite, default=1e-4, metavar="T",
                        help="largest difference allowed, a share of the blob's largest magnitude (1e-4)")  # fmt: skip
    add_switch(parser, "json", "one JSON object instead of the table")


def run(args: argparse.Namespace) -> int:
    from caffecompat.report.blob_differences import compare_blobs, nonfinite_lines, table_lines

    found = compare_blobs(args.first, args.second)
    bad = found.over(args.tolerance)
    if args.json:
        rows = [blob.as_json() for blob in found.blobs]
        print(json.dumps({"blobs": rows, "over_tolerance": bad, "alone": found.alone}, indent=1))
        return 1 if bad else 0
    print(*table_lines(found.blobs), *nonfinite_lines(found.blobs), sep="\n")
    for folder, names in found.alone.items():
        if names:
            print(f"only in {folder}: {few(names, 8)}")
    if bad:
        print(f"{len(bad)} of {len(found.blobs)} blobs over {args.tolerance:g}, the first is {bad[0]}")
    else:
        print(f"all {len(found.blobs)} blobs within {args.tolerance:g}")
    return 1 if bad else 0
