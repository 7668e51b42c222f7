"""Draw records with their labels on one sheet."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from caffecompat.cli.common.flags import COUNT, NATURAL, SEED, SIDE, UsageError, add_switch
from caffecompat.cli.common.outputs import output

if TYPE_CHECKING:
    from caffecompat.formats.database import DatabaseReader

HELP = "draw records with their labels on one sheet"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("database", metavar="DB", help="a database, or the folder of an image and a label database")
    parser.add_argument(
        "--out", type=output("a picture"), metavar="FILE", help="the sheet to write (default: DB's name + .png, here)"
    )
    parser.add_argument("--count", type=COUNT, default=24, metavar="N", help="records to show (default 24)")
    parser.add_argument("--start", default="0", metavar="N|KEY", help="first record, by number or key")
    add_switch(parser, "random", "random records instead")
    parser.add_argument("--seed", type=SEED, default=0, metavar="N", help="of --random")
    parser.add_argument("--columns", type=NATURAL, default=0, metavar="N")
    parser.add_argument("--size", type=SIDE, default=160, metavar="N", help="larger side of a picture on the sheet")
    add_switch(parser, "classes", "one-channel pictures are class numbers: show them in colors")


def run(args: argparse.Namespace) -> int:
    import os
    import re

    from caffecompat.data.contact_sheet import contact_sheet
    from caffecompat.data.dataset import class_names, open_parts
    from caffecompat.formats.atomic import atomic_write
    from caffecompat.formats.picture import encode_picture

    out = args.out or re.sub(r"[^\w.-]+", "_", os.path.basename(os.path.normpath(args.database))) + ".png"
    kind = out.rpartition(".")[2].lower()
    if kind not in ("png", "jpg", "jpeg", "bmp", "webp"):
        raise UsageError(f"--out {out}: the sheet is a picture; its name ends in .png or .jpg")
    with ExitStack() as stack:
        databases = [stack.enter_context(database) for database in open_parts(args.database)]
        names = class_names(args.database)
        cells = [_cell(databases, key, names, args.classes, args.size) for key in _chosen_keys(databases[0], args)]
    data = encode_picture(contact_sheet(cells, columns=args.columns, size=args.size), kind)
    with atomic_write(out) as file:
        file.write(data or b"")
    print(f"wrote {out}")
    return 0


def _chosen_keys(database: DatabaseReader, args: argparse.Namespace) -> list[bytes]:
    import random

    from caffecompat.formats.database import DatabaseError

    cursor = database.cursor()
    if args.random:
        keys = list(database.keys())
        chosen = sorted(random.Random(args.seed).sample(range(len(keys)), min(args.count, len(keys))))
        found = [keys[index] for index in chosen]
    else:
        if args.start.isdecimal() and (len(args.start) < 8 or database.get(args.start.encode()) is None):
            cursor.skip(int(args.start))
        else:
            cursor.seek(args.start.encode())
        found = [key for key, _ in cursor.read(args.count)]
    cursor.close()
    if not found:
        raise DatabaseError(f"{database.path} has {len(database)} records; none from {args.start} on")
    return found


def _cell(
    databases: Sequence[DatabaseReader], key: bytes, names: Sequence[str], classes: bool, size: int
) -> tuple[list[Any], str]:
    """One record of each database side by side; prints a line about it."""
    from caffecompat.data.contact_sheet import color_labels, draw_boxes, viewable
    from caffecompat.data.inspection import datum_kind, read_record
    from caffecompat.formats.database import key_text
    from caffecompat.formats.datum import DatumError

    pictures, words, label, boxes = [], [key_text(key)], 0, None
    for number, database in enumerate(databases):
        try:
            datum, boxes = read_record(database.get(key) or b"")
            values = datum.image()
        except DatumError as error:
            import numpy as np

            pictures.append(np.full((32, 32, 3), (0, 0, 200), np.uint8))
            words.append(f"damaged: {error}")
            continue
        label_map = (classes or number == 1) and values.shape[2] == 1
        picture = color_labels(values) if label_map else viewable(values)
        pictures.append(picture if boxes is None else draw_boxes(picture, boxes, names, size))
        label = label or datum.label or 0
        words.append(f"{datum_kind(datum)} {'x'.join(map(str, (values.shape[2], *values.shape[:2])))}")
        if label_map:
            words.append("classes " + " ".join(str(value) for value in sorted(set(values.ravel().tolist()))))
    short = words[0].rpartition("/")[2]
    if boxes is not None:
        print("  ".join([*words, *(_box_text(row, names) for row in boxes.tolist())]))
        return pictures, short
    name = names[label] if 0 <= label < len(names) else ""
    if len(databases) == 1:
        words.insert(1, f"label {label} {name}".rstrip())
    print("  ".join(words))
    return pictures, short if len(databases) > 1 else f"{label} {name or short}"


def _box_text(row: Sequence[float], names: Sequence[str]) -> str:
    """One object of a record: class, corners in shares of the picture."""
    from caffecompat.data.contact_sheet import class_title

    corners = ",".join(f"{side:.3f}" for side in row[2:6])
    return f"{class_title(int(row[0]), names)} ({corners}){' difficult' if row[6] else ''}"
