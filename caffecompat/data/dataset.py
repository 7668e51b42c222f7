"""A data set on disk: one database, or the folder of an ``image`` and a ``label`` database that `pair_plan` builds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from caffecompat.files import read_text
from caffecompat.formats.database import DatabaseError, DatabaseReader, detect_backend, open_database
from caffecompat.formats.label_map import read_label_map
from caffecompat.formats.shards import database_folders, is_shard, names_several

__all__ = ["CLASS_FILES", "class_file", "class_names", "count_records", "dataset_parts", "is_dataset", "open_parts"]

_PAIR = ("image", "label")
CLASS_FILES = ("classes.txt", "labelmap.prototxt")


def dataset_parts(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """("image", "label") when the folder holds these two databases, else ("",): the folder is one itself."""
    if detect_backend(path) is None and all(detect_backend(Path(path, part)) for part in _PAIR):
        return _PAIR
    return ("",)


def open_parts(path: str | os.PathLike[str]) -> list[DatabaseReader]:
    """The data set's databases, in the order of `dataset_parts`.

    Raises:
        DatabaseError: there is none, or the two of a pair hold different numbers of records.
    """
    readers = [open_database(Path(path, part) if part else path) for part in dataset_parts(path)]
    if len({len(reader) for reader in readers}) > 1:
        counts = " and ".join(f"{len(reader)} in {reader.path}" for reader in readers)
        raise DatabaseError(f"the databases of {os.fspath(path)} do not match: {counts} records")
    return readers


def is_dataset(path: str | os.PathLike[str]) -> bool:
    """Whether a path may name databases (a folder, several, a pattern) rather than a list."""
    return os.path.isdir(path) or names_several(os.fspath(path))


def class_file(path: str | os.PathLike[str], name: str) -> Path | None:
    """One of CLASS_FILES that lies with the databases, of several the first one's; None where there is none."""
    folder = Path(path if os.path.isdir(path) else database_folders(os.fspath(path))[0])
    folders = [folder, folder.parent] if is_shard(folder.name) else [folder]
    return next((place / name for place in folders if (place / name).is_file()), None)


def class_names(path: str | os.PathLike[str]) -> Sequence[str]:
    """Names of the classes 0, 1, ... from the folder's classes.txt or labelmap.prototxt; empty without them."""
    names = class_file(path, "classes.txt")
    if names is not None:
        return read_text(names, "the class names").splitlines()
    label_map = class_file(path, "labelmap.prototxt")
    if label_map is None:
        return ()
    display = read_label_map(label_map).display
    return [display.get(label, "") for label in range(max(display) + 1)]


def count_records(path: str | os.PathLike[str]) -> int:
    """Records of the data set; those of a pair count once."""
    readers = open_parts(path)
    count = len(readers[0])
    for reader in readers:
        reader.close()
    return count
