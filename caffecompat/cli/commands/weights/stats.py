"""Mean, deviation, range, zeros and values that are not finite of every blob of a file of weights."""

from __future__ import annotations

import argparse

from caffecompat.cli.common.flags import add_switch

HELP = "mean, std, min, max, zeros of every blob"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help=".caffemodel, .h5, .safetensors or .npz")
    add_switch(parser, "json", "one JSON object instead of the table")


def run(args: argparse.Namespace) -> int:
    """Print the table; 1 when a blob has values that are not finite."""
    import json

    from caffecompat.cli.common.weights_files import read_blobs
    from caffecompat.formats.inventory import blob_stats

    rows = [
        {"name": f"{layer}.{index}", "shape": list(blob.shape), **blob_stats(blob)}
        for layer, blobs in read_blobs(args.file).items()
        for index, blob in enumerate(blobs)
    ]
    if args.json:
        print(json.dumps({"path": args.file, "blobs": rows}, indent=1))
    else:
        names = max((len(row["name"]) for row in rows), default=4)
        shapes = max((len(_shape(row)) for row in rows), default=5)
        heads = "".join(title.rjust(13) for title in ("mean", "std", "min", "max"))
        print(f"{'blob':<{names}}  {'shape':<{shapes}}{heads}   zeros")
        for row in rows:
            values = "".join(f"{row[key]:13.5e}" if row[key] is not None else f"{'-':>13}" for key in _VALUES)
            broken = f"  {row['not_finite']} not finite" if row["not_finite"] else ""
            print(f"{row['name']:<{names}}  {_shape(row):<{shapes}}{values}  {row['zeros']:6.1%}{broken}")
    return 1 if any(row["not_finite"] for row in rows) else 0


_VALUES = ("mean", "std", "min", "max")


def _shape(row: dict[str, object]) -> str:
    shape = row["shape"]
    return "x".join(map(str, shape)) if isinstance(shape, list) and shape else "scalar"
