"""List the layers and blobs of a file."""

from __future__ import annotations

import argparse
import json
from typing import Any

from caffecompat.cli.common.flags import add_switch
from caffecompat.printable import printable

HELP = "list layers and blobs"

_GENERATIONS = {"V2": "layer (V2)", "V1": "layers with enum types (V1)", "V0": "layers of 2013 (V0)", "HDF5": "HDF5"}
_WRITERS = {"NVCAFFE": "NVCaffe or TI Jacinto (raw_data fields)", "XILINX": "Xilinx Caffe (mask fields)"}


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help=".caffemodel or .caffemodel.h5 (the content decides which)")
    add_switch(parser, "stats", "mean, std, min, max and zeros of every blob")
    add_switch(parser, "json", "one JSON object instead of the table")


def run(args: argparse.Namespace) -> int:
    """Print the inventory; 1 when a blob of the file cannot be read."""
    from caffecompat.formats.inventory import list_weights

    table = list_weights(args.file, stats=args.stats)
    if args.json:
        print(json.dumps(table, indent=1))
    else:
        print("\n".join([*_head(table), *_rows(table)]))
    return 1 if any(blob and "problem" in blob for layer in table["layers"] for blob in layer["blobs"]) else 0


def _head(table: dict[str, Any]) -> list[str]:
    with_blobs = sum(1 for layer in table["layers"] if layer["blobs"])
    formats = " + ".join(_GENERATIONS.get(name, name) for name in table["format"].split("+"))
    encodings = ", ".join(f"{count} {name}" for name, count in table["encodings"].items()) or "none"
    lines = [
        f"{table['path']}: {table['size']:,} bytes" + (f", net {table['name']!r}" if table["name"] else ""),
        f"format: {formats}; blobs: {encodings}",
    ]
    if table["fork"]:
        lines.append(f"written by: {_WRITERS[table['fork']]}")
    lines.append(f"{len(table['layers'])} layers, {with_blobs} with blobs, {table['parameters']:,} parameters")
    return [*lines, ""]


def _rows(table: dict[str, Any]) -> list[str]:
    """One line a layer, one more for each blob after the first."""
    rows = []
    for index, layer in enumerate(table["layers"]):
        blobs = layer["blobs"] or [None]
        for at, blob in enumerate(blobs):
            first = (str(index), printable(layer["name"]), printable(layer["type"])) if at == 0 else ("", "", "")
            rows.append((*first, *_cells(blob, bool(layer["blobs"]))))
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(5)]
    lines = []
    for number, name, kind, shape, count, rest in rows:
        cells = (
            number.rjust(widths[0]), name.ljust(widths[1]), kind.ljust(widths[2]), shape.ljust(widths[3]),
            count.rjust(widths[4]), rest,
        )  # fmt: skip
        lines.append("  ".join(cells).rstrip())
    return lines


def _cells(blob: dict[str, Any] | None, has_blobs: bool) -> tuple[str, str, str]:
    """Shape, count and the rest of a blob's line."""
    if blob is None:
        return "(another layer's)" if has_blobs else "", "", ""
    rest = [blob["dtype"]]
    if blob["diff"]:
        rest.append("with diff")
    if "std" in blob:
        rest.append(_stats(blob))
    if "problem" in blob:
        rest.append("! " + blob["problem"])
    return "x".join(map(str, blob["shape"])) or "scalar", f"{blob['count']:,}", "  ".join(rest)


def _stats(blob: dict[str, Any]) -> str:
    if blob["mean"] is None:
        text = "no finite values"
    else:
        text = "  ".join(f"{name} {blob[name]:12.5e}" for name in ("mean", "std", "min", "max"))
    text += f"  zeros {blob['zeros']:6.1%}"
    return text + (f"  {blob['not_finite']} not finite" if blob["not_finite"] else "")
