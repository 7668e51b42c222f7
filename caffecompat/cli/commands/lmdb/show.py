"""Draw records with their labels on one sheet, or what a net's data layer makes of its records.

    caffecompat lmdb show train_lmdb --out sheet.png
    caffecompat lmdb show --augmented train_val.prototxt --times 6 --out augmented.png

With --augmented each row is a record that the net reads, from a database or a list: first as it is, then as
transform_param changes it, each time by other random numbers. Mean, scale and std are undone; label pictures lie over
their pictures in colors.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from caffecompat.cli.common.augmented_cells import augmented_cells, box_text
from caffecompat.cli.common.flags import COUNT, NATURAL, SEED, SIDE, UsageError, add_switch
from caffecompat.cli.common.net_flags import net_flags
from caffecompat.cli.common.outputs import output

if TYPE_CHECKING:
    from caffecompat.formats.database import DatabaseReader

HELP = "draw records with their labels on one sheet"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("database", metavar="DB", nargs="?",
                        help="a database, or the folder of an image and a label database")  # fmt: skip
    parser.add_argument(
        "--out", type=output("a picture"), metavar="FILE", help="the sheet to write (default: DB's name + .png, here)"
    )
    parser.add_argument("--count", type=COUNT, metavar="N", help="records to show (default 24; 8 with --augmented)")
    parser.add_argument("--start", default="0", metavar="N|KEY", help="first record, by number or key")
    add_switch(parser, "random", "random records instead")
    parser.add_argument("--seed", type=SEED, default=0, metavar="N", help="of --random and --augmented (default 0)")
    parser.add_argument("--columns", type=NATURAL, default=0, metavar="N",
                        help="pictures a row of the sheet (0: as many as make it square)")  # fmt: skip
    parser.add_argument("--size", type=SIDE, default=160, metavar="N", help="larger side of a picture on the sheet")
    add_switch(parser, "classes", "one-channel pictures are class numbers: show them in colors")
    augmented = parser.add_argument_group("what a net sees")
    augmented.add_argument("--augmented", metavar="NET", help="a net or solver, whose data layer's records to show")
    augmented.add_argument("--layer", metavar="NAME", help="the data layer (default: the first of the phase)")
    augmented.add_argument("--phase", metavar="P", help="TRAIN (default) or TEST")
    augmented.add_argument("--times", type=COUNT, metavar="K", help="how often each is drawn (default 4)")
    net_flags(parser)


def run(args: argparse.Namespace) -> int:
    import os
    import re

    from caffecompat.data.contact_sheet import contact_sheet
    from caffecompat.formats.atomic import atomic_write
    from caffecompat.formats.picture import encode_picture

    _check(args)
    shown = args.augmented or args.database
    out = args.out or re.sub(r"[^\w.-]+", "_", os.path.basename(os.path.normpath(shown))) + ".png"
    kind = out.rpartition(".")[2].lower()
    if kind not in ("png", "jpg", "jpeg", "bmp", "webp"):
        raise UsageError(f"--out {out}: the sheet is a picture; its name ends in .png or .jpg")
    cells = augmented_cells(args) if args.augmented else _record_cells(args)
    columns = args.columns or (1 if args.augmented else 0)
    data = encode_picture(contact_sheet(cells, columns=columns, size=args.size), kind)
    with atomic_write(out) as file:
        file.write(data or b"")
    print(f"wrote {out}")
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuse flags that do not go together."""
    if args.augmented is None:
        if args.database is None:
            raise UsageError("caffecompat lmdb show: give a database, or --augmented NET")
        names = "layer", "phase", "times", "level", "stage", "settings"
        given = [name for name in names if getattr(args, name) not in (None, "", [])]
        if given:
            raise UsageError(f"caffecompat lmdb show: --{given[0].replace('settings', 'set')} needs --augmented NET")
        return
    if args.database is not None:
        raise UsageError(
            "caffecompat lmdb show: --augmented shows what the net's data layer reads; leave the database out, or "
            f"read it by --set LAYER.data_param.source={args.database}"
        )
    given = [name for name in ("random", "classes") if getattr(args, name)]
    if given:
        raise UsageError(f"caffecompat lmdb show: --{given[0]} does not go with --augmented")


def _record_cells(args: argparse.Namespace) -> list[tuple[list[Any], str]]:
    """The records of a database, each with what it is labeled with."""
    from caffecompat.data.dataset import class_names, open_parts

    with ExitStack() as stack:
        databases = [stack.enter_context(database) for database in open_parts(args.database)]
        names = class_names(args.database)
        return [_cell(databases, key, names, args.classes, args.size) for key in _chosen_keys(databases[0], args)]


def _chosen_keys(database: DatabaseReader, args: argparse.Namespace) -> list[bytes]:
    import random

    from caffecompat.formats.database import DatabaseError

    cursor, count = database.cursor(), args.count or 24
    if args.random:
        keys = list(database.keys())
        chosen = sorted(random.Random(args.seed).sample(range(len(keys)), min(count, len(keys))))
        found = [keys[index] for index in chosen]
    else:
        if args.start.isdecimal() and (len(args.start) < 8 or database.get(args.start.encode()) is None):
            cursor.skip(int(args.start))
        else:
            cursor.seek(args.start.encode())
        found = [key for key, _ in cursor.read(count)]
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
        print("  ".join([*words, *(box_text(row, names) for row in boxes.tolist())]))
        return pictures, short
    name = names[label] if 0 <= label < len(names) else ""
    if len(databases) == 1:
        words.insert(1, f"label {label} {name}".rstrip())
    print("  ".join(words))
    return pictures, short if len(databases) > 1 else f"{label} {name or short}"
