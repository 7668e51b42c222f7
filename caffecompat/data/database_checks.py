"""What whole data sets hold, and whether all of it is sound."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from caffecompat.arguments import as_count
from caffecompat.data.dataset import open_parts
from caffecompat.data.inspection import (
    Checks,
    DatabaseInfo,
    RecordProblem,
    inspect_records,
    verify_keys,
    verify_records,
)

__all__ = ["DatabaseCheck", "inspect_database", "verify_database"]

PathLike = str | os.PathLike[str]


def inspect_database(
    database: PathLike,
    *,
    limit: int = 0,
    label_pixels: bool = False,
    on_progress: Callable[[int], None] = lambda done: None,
) -> list[DatabaseInfo]:
    """What a data set holds: records, shapes, labels, encodings, boxes.

    Args:
        database: one database, or the folder of an image and a label database.
        limit: look at the first records only, that many; 0 is all.
        label_pixels: the pictures' pixels are class numbers: count these (a pair's labels always are).
        on_progress: called with how many records are looked at, those of a pair twice.

    Returns:
        What each database holds; shapes are (C, H, W), sizes in bytes.

    Raises:
        DatabaseError: there is no such database, or the two of a pair do not belong together.

    >>> import caffecompat
    >>> report = caffecompat.build_database("list.txt", "inspected_lmdb")
    >>> [info] = caffecompat.inspect_database("inspected_lmdb")
    >>> (info.records, dict(info.shapes), dict(info.labels))
    (4, {(3, 8, 8): 4}, {0: 2, 1: 2})
    """
    limit = as_count(limit, "limit", 0) or 0
    infos: list[DatabaseInfo] = []
    for number, reader in enumerate(open_parts(database)):
        with reader:
            step = _beyond(sum(info.looked_at for info in infos), on_progress)
            pixels = label_pixels or number == 1
            infos.append(inspect_records(reader, limit=limit, label_pixels=pixels, on_progress=step))
    return infos


@dataclass
class DatabaseCheck:
    """Whether a data set is sound.

    Attributes:
        records: of each database, by its path.
        problems: what is wrong with records of each database, by its path.
        mismatches: where the keys of a pair differ.
    """

    records: dict[str, int] = field(default_factory=dict)
    problems: dict[str, list[RecordProblem]] = field(default_factory=dict)
    mismatches: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.mismatches or any(self.problems.values()))


def verify_database(
    database: PathLike,
    *,
    classes: int = 0,
    ignore_label: int = 255,
    label_pixels: bool = False,
    any_size: bool = False,
    threads: int = 0,
    on_progress: Callable[[int], None] = lambda done: None,
) -> DatabaseCheck:
    """Decode every record of a data set and name those that are wrong.

    Args:
        database: one database, or the folder of an image and a label database, whose keys must be the same.
        classes: labels must be 0 to `classes` - 1 (of a pair: the label pictures' pixels; boxes: 1 to that);
            0 asks nothing.
        ignore_label: also allowed among pixels.
        label_pixels: the pictures' pixels are class numbers.
        any_size: records may differ in size.
        threads: that decode; 0 is one a core.
        on_progress: called with how many records are checked, those of a pair twice.

    Raises:
        DatabaseError: there is no such database, or the two of a pair hold different numbers of records.

    >>> import caffecompat
    >>> report = caffecompat.build_database("list.txt", "verified_lmdb")
    >>> caffecompat.verify_database("verified_lmdb", classes=2).sound
    True
    >>> found = caffecompat.verify_database("verified_lmdb", classes=1)
    >>> [str(problem) for problem in found.problems["verified_lmdb"]][0]
    '00000001_1.png: has label 1; expected 0 to 0'
    """
    classes = as_count(classes, "classes", 0) or 0
    found = DatabaseCheck()
    with ExitStack() as stack:
        readers = [stack.enter_context(reader) for reader in open_parts(database)]
        found.mismatches = verify_keys(readers) if len(readers) > 1 else []
        for number, reader in enumerate(readers):
            step = _beyond(sum(found.records.values()), on_progress)
            of_pictures = len(readers) > 1 and number == 0
            checks = Checks(not any_size, 0 if of_pictures else classes, label_pixels or number == 1, ignore_label)
            found.records[reader.path] = len(reader)
            found.problems[reader.path] = verify_records(reader, checks, threads=threads, on_progress=step)
    return found


def _beyond(before: int, on_progress: Callable[[int], None]) -> Callable[[int], None]:
    """Report progress in a database as progress in the whole data set."""
    return lambda done: on_progress(before + done)
