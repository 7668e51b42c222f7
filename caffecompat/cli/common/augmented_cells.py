"""The cells of a sheet that shows what a net's data layer makes of its records, and the lines about them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from caffecompat.cli.common.flags import UsageError
from caffecompat.cli.common.net_flags import open_model
from caffecompat.errors import CaffeCompatError

if TYPE_CHECKING:
    import numpy as np

    from caffecompat.data.augmented_pictures import Seen
    from caffecompat.schema import NetDocument, pb

__all__ = ["augmented_cells", "box_text"]


def augmented_cells(args: argparse.Namespace) -> list[tuple[list[Any], str]]:
    """A row of pictures for each record, the first as it is; prints a line about each picture."""
    from caffecompat.data.augmented_pictures import augmented_pictures

    args.phase = args.phase or "TRAIN"
    if args.phase.upper() not in ("TRAIN", "TEST"):
        raise UsageError(f"caffecompat lmdb show: --phase {args.phase}: TRAIN or TEST")
    if not args.start.isdecimal():
        raise UsageError(f"caffecompat lmdb show: --start {args.start}: with --augmented the number of a record")
    document = open_model(args, args.augmented)
    layer = _data_layer(document, args)
    names = _class_names(layer, document.relative_to)
    cells = []
    for record in augmented_pictures(
        layer,
        args.phase,
        document.fork,
        document.relative_to,
        count=args.count or 8,
        start=int(args.start),
        times=args.times or 4,
        random_seed=args.seed,
    ):
        seen = [("as it is", record.original), *((f"{k}", one) for k, one in enumerate(record.augmented, 1))]
        print(record.name)
        for title, one in seen:
            print("  ".join(["", title, *_words(one, names)]))
        short = record.name.rstrip("'").rpartition("/")[2].rpartition("'")[2]
        cells.append(([_drawn(one, names, args.size) for _, one in seen], short))
    return cells


def box_text(row: Sequence[float], names: Sequence[str]) -> str:
    """One object of a record: class, corners in shares of the picture."""
    from caffecompat.data.contact_sheet import class_title

    corners = ",".join(f"{side:.3f}" for side in row[2:6])
    return f"{class_title(int(row[0]), names)} ({corners}){' difficult' if row[6] else ''}"


def _data_layer(document: NetDocument, args: argparse.Namespace) -> pb.LayerParameter:
    """The data layer of the phase: the one named by --layer, else the first."""
    from caffecompat.net.filter import filter_net, make_state
    from caffecompat.schema import as_phase
    from caffecompat.schema.data_layers import reads_data

    state = make_state(document.message, as_phase(args.phase), args.level, ())
    _, kept, _ = filter_net(document.message, state, lambda line: None)
    layers = [document.message.layer[index] for index in kept]
    found = [layer for layer in layers if reads_data(layer) and args.layer in (None, layer.name)]
    if not found:
        phase, known = args.phase.upper(), ", ".join(layer.name for layer in layers if reads_data(layer))
        if args.layer is None or not known:
            raise CaffeCompatError(f"{args.augmented}: the net of {phase} has no layer that reads data")
        raise CaffeCompatError(f"{args.augmented}: the net of {phase} has no data layer {args.layer!r}; known: {known}")
    return found[0]


def _class_names(layer: pb.LayerParameter, relative_to: str) -> Sequence[str]:
    """Those that lie with the database that the layer reads; none where it reads another thing."""
    from caffecompat.data.dataset import class_names
    from caffecompat.paths import look_up

    folder = look_up(layer.data_param.source, relative_to) if layer.data_param.source else None
    return class_names(folder) if folder is not None and os.path.isdir(folder) else ()


def _words(seen: Seen, names: Sequence[str]) -> list[str]:
    height, width, channels = seen.picture.shape
    words = [f"{channels}x{height}x{width}"]
    if seen.label_picture is not None:
        words.append("classes " + " ".join(str(value) for value in sorted(set(seen.label_picture.ravel().tolist()))))
    if seen.label is not None:
        name = names[seen.label] if 0 <= seen.label < len(names) else ""
        words.append(f"label {seen.label} {name}".rstrip())
    if seen.objects is not None:
        words += [box_text(row, names) for row in seen.objects.tolist()]
    return words


def _drawn(seen: Seen, names: Sequence[str], size: int) -> np.ndarray:
    """The picture with its boxes, or under the colors of its label picture."""
    from caffecompat.data.contact_sheet import draw_boxes, overlaid, viewable

    picture = viewable(seen.picture)
    if seen.label_picture is not None:
        picture = overlaid(picture, seen.label_picture)
    return picture if seen.objects is None else draw_boxes(picture, seen.objects, names, size)
