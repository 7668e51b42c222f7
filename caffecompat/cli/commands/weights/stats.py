"""Mean, deviation, range, zeros and values that are not finite of every blob of a file of weights."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from caffecompat.cli.common.flags import add_switch

if TYPE_CHECKING:
    from caffecompat.formats.inventory import BlobSummary

HELP = "mean, std, min, max, zeros of every blob"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help=".caffemodel, .h5, .safetensors or .npz")
    add_switch(parser, "json", "one JSON object instead of the table")


def run(args: argparse.Namespace) -> int:
    """Print the table; 1 when a blob has values that are not finite."""
    import json
    from dataclasses import asdict

    from caffecompat.formats.inventory import summarize_weights

    rows = summarize_weights(args.file)
    if args.json:
        print(json.dumps({"path": args.file, "blobs": [asdict(row) for row in rows]}, indent=1))
    else:
        names = max((len(row.name) for row in rows), default=4)
        shapes = max((len(_shape(row)) for row in rows), default=5)
        heads = "".join(title.rjust(13) for title in ("mean", "std", "min", "max"))
        print(f"{'blob':<{names}}  {'shape':<{shapes}}{heads}   zeros")
        for row in rows:
            numbers = (row.mean, row.std, row.min, row.max)
            values = "".join(f"{value:13.5e}" if value is not None else f"{'-':>13}" for value in numbers)
            broken = f"  {row.not_finite} not finite" if row.not_finite else ""
            print(f"{row.name:<{names}}  {_shape(row):<{shapes}}{values}  {row.zeros:6.1%}{broken}")
    return 1 if any(row.not_finite for row in rows) else 0


def _shape(row: BlobSummary) -> str:
    return "x".join(map(str, row.shape)) or "scalar"
