"""Count records, shapes, labels and encodings."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from caffecompat.cli.common.flags import NATURAL, add_switch
from caffecompat.cli.common.progress import progress_flag
from caffecompat.cli.common.record_progress import record_progress

if TYPE_CHECKING:
    from caffecompat.data.inspection import DatabaseInfo

HELP = "count records, shapes, labels and encodings"

_MOST_CLASSES = 40


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("database", metavar="DB", help="an LMDB or LevelDB")
    parser.add_argument("--limit", type=NATURAL, default=0, metavar="N", help="look at the first N records only")
    add_switch(parser, "label-pixels", "DB holds label pictures: count the classes of its pixels")
    add_switch(parser, "json", "machine-readable")
    progress_flag(parser)


def run(args: argparse.Namespace) -> int:
    import json

    from caffecompat.data.database_checks import inspect_database
    from caffecompat.data.dataset import class_names, count_records, dataset_parts

    total = (args.limit or count_records(args.database)) * len(dataset_parts(args.database))
    with record_progress(total, args.progress) as step:
        infos = inspect_database(args.database, limit=args.limit, label_pixels=args.label_pixels, on_progress=step)
    if args.json:
        print(json.dumps([info.as_json() for info in infos] if len(infos) > 1 else infos[0].as_json(), indent=2))
    else:
        print("\n\n".join(_describe(info, class_names(args.database)) for info in infos))
    return 0


def _describe(info: DatabaseInfo, names: Sequence[str]) -> str:
    backend = {"lmdb": "LMDB", "leveldb": "LevelDB"}[info.backend]
    lines = [f"{info.path}: {backend}, {info.records} records, {_bytes(info.disk_bytes)} on disk"]
    if info.looked_at < info.records:
        lines.append(f"  counted   the first {info.looked_at} records")
    if info.looked_at:
        lines.append(f"  keys      {info.first_key} ... {info.last_key}")
        lines.append(f"  record    {_bytes(info.value_bytes / info.looked_at)} on average")
    lines.append("  stored    " + ", ".join(f"{count} {kind}" for kind, count in info.kinds.most_common()))
    shapes = [f"{count} of {'x'.join(map(str, shape))}" for shape, count in info.shapes.most_common(8)]
    more = f", and {len(info.shapes) - 8} other shapes" if len(info.shapes) > 8 else ""
    lines.append(f"  shapes    {', '.join(shapes)}{more} (channels x height x width)")
    if info.annotated:
        empty = info.annotated - info.boxed
        lines.append(f"  boxes     {info.boxes} in {info.boxed} records, {empty} without; {info.difficult} difficult")
    what = "pixels" if info.label_pixels else "boxes " if info.annotated else "labels"
    lines += _describe_labels(info.labels, names, what)
    if info.damaged:
        lines.append(f"  damaged   {len(info.damaged)} records: {', '.join(info.damaged[:5])}")
    return "\n".join(lines)


def _describe_labels(labels: Counter[int], names: Sequence[str], what: str) -> list[str]:
    if not labels:
        return []
    total = sum(labels.values())
    lines = [f"  {what}    {len(labels)} classes, from {min(labels)} to {max(labels)}"]
    shown = (
        sorted(labels) if len(labels) <= _MOST_CLASSES else [label for label, _ in labels.most_common(_MOST_CLASSES)]
    )
    for label in shown:
        name = names[label] if 0 <= label < len(names) else ""
        lines.append(f"    {label:>6} {labels[label]:>9} {100 * labels[label] / total:>5.1f}%  {name}".rstrip())
    if len(labels) > _MOST_CLASSES:
        lines.append(f"    ... {len(labels) - _MOST_CLASSES} rarer ones, down to {min(labels.values())}")
    return lines


def _bytes(size: float) -> str:
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:.0f} B" if units[0] == "B" else f"{size:.1f} {units[0]}"
