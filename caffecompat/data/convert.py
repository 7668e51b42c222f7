"""Databases of lists, record for record as Caffe's convert_imageset and SSD's convert_annoset make them."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from caffecompat.arguments import as_size
from caffecompat.data.annotated_recipes import annoset_plan
from caffecompat.data.build import BuildError, BuildReport, Plan, write_database
from caffecompat.data.recipes import caffe_plan
from caffecompat.formats.image_list import ListedImage, ListedPair, read_image_list, read_pair_list
from caffecompat.formats.label_map import read_class_numbers

__all__ = ["convert_annoset", "convert_imageset"]

PathLike = str | os.PathLike[str]
Entry = TypeVar("Entry", ListedImage, ListedPair, ListedImage | ListedPair)


def convert_imageset(
    root: PathLike,
    list_path: PathLike,
    database: PathLike,
    *,
    size: tuple[int, int] | None = None,
    color: bool = True,
    encoded: bool = False,
    encode_type: str = "",
    check_size: bool = False,
    shuffle: bool = False,
    seed: int = 0,
    backend: str = "lmdb",
    threads: int = 0,
    on_start: Callable[[int], None] = lambda done: None,
    on_progress: Callable[[int], None] = lambda done: None,
    on_bad: Callable[[ListedImage, str], None] = lambda entry, why: None,
) -> BuildReport:
    """Make a database of the images in a list: the keys and records of Caffe's convert_imageset.

    `build_database` makes databases of class folders and of image and label pairs too, and checks the list first.

    Args:
        root: put before each path of the list as it is, so it ends in "/".
        list_path: lines 'path label'.
        database: folder to make; an interrupted conversion leaves DATABASE.partial, with which the same call goes on.
        size: (height, width) in pixels that images are resized to; by default they keep their own.
        color: three channels (B, G, R) rather than one.
        encoded: keep encoded images (the files' own bytes where nothing changes them).
        encode_type: encode images as "png", "jpg", ...
        check_size: all records must have the same size.
        shuffle: mix the images.
        seed: of the shuffling.
        backend: "lmdb" or "leveldb".
        threads: that encode; 0 is one a core.
        on_start: called with how many records an earlier call had made.
        on_progress: called with how many images are dealt with.
        on_bad: called with each image that cannot be read, and why; it is left out, as Caffe does.

    Raises:
        BuildError: `database` exists or is being built, or records differ in size and `check_size` is set.
        CaffeCompatError: the list cannot be read, or writing fails.

    >>> import caffecompat
    >>> caffecompat.convert_imageset("", "list.txt", "converted_lmdb", size=(4, 4)).written
    4
    """
    entries = read_image_list(list_path)
    _shuffle(entries, shuffle, seed)
    height, width = as_size(size) or (0, 0)
    plan = caffe_plan(
        os.fspath(root), entries, color=color, height=height, width=width, encoded=encoded, encode_type=encode_type,
        backend=backend, check_size=check_size,
    )  # fmt: skip
    return _write(database, plan, entries, threads, on_start, on_progress, on_bad)


def convert_annoset(
    root: PathLike,
    list_path: PathLike,
    database: PathLike,
    *,
    anno_type: str = "classification",
    label_type: str = "xml",
    label_map: PathLike | None = None,
    check_label: bool = False,
    size: tuple[int, int] | None = None,
    min_dim: int = 0,
    max_dim: int = 0,
    color: bool = True,
    encoded: bool = False,
    encode_type: str = "",
    check_size: bool = False,
    shuffle: bool = False,
    seed: int = 0,
    backend: str = "lmdb",
    threads: int = 0,
    on_start: Callable[[int], None] = lambda done: None,
    on_progress: Callable[[int], None] = lambda done: None,
    on_bad: Callable[[ListedImage | ListedPair, str], None] = lambda entry, why: None,
) -> BuildReport:
    """Make a database of images and annotations: the keys and records of SSD's convert_annoset.

    Args:
        anno_type: "detection", lines 'image annotation-file', or "classification", lines 'image label'.
        label_type: of the annotation files: "xml", "json" or "txt".
        label_map: file with the numbers of the annotations' classes; detection needs it but for "txt".
        check_label: the label map must not give a name twice.
        min_dim: least length in pixels of the shorter side; smaller pictures are enlarged.
        max_dim: greatest length in pixels of the longer side; larger pictures are reduced.
        size: (height, width) in pixels that all pictures are resized to.
        root, list_path, database, color, encoded, encode_type, check_size, shuffle, seed, backend, threads, on_start,
            on_progress, on_bad: as of `convert_imageset`.

    Raises:
        BuildError: as `convert_imageset`, or detection has no label map.
        CaffeCompatError: the list or the label map cannot be read, or writing fails.

    >>> import caffecompat
    >>> report = caffecompat.convert_annoset(
    ...     "", "boxes.txt", "boxed_lmdb", anno_type="detection", label_map="things.prototxt"
    ... )
    >>> report.written
    2
    """
    if anno_type not in ("classification", "detection"):
        raise BuildError(f"anno_type {anno_type!r}: expected classification or detection")
    if label_type not in ("xml", "json", "txt"):
        raise BuildError(f"label_type {label_type!r}: expected xml, json or txt")
    detection = anno_type == "detection"
    if detection and label_type != "txt" and not label_map:
        raise BuildError("convert_annoset --anno_type=detection needs --label_map_file (create_label_map makes one)")
    numbers = read_class_numbers(label_map, unique=check_label) if label_map else {}
    entries: list[ListedImage | ListedPair] = [
        *(read_pair_list(list_path) if detection else read_image_list(list_path))
    ]
    _shuffle(entries, shuffle, seed)
    height, width = as_size(size) or (0, 0)
    plan = annoset_plan(
        os.fspath(root), entries, label_type=label_type, numbers=numbers, color=color, height=height, width=width,
        min_dim=min_dim, max_dim=max_dim, encoded=encoded, encode_type=encode_type, backend=backend,
        check_size=check_size,
    )  # fmt: skip
    return _write(database, plan, entries, threads, on_start, on_progress, on_bad)


def _shuffle(entries: list[Entry], shuffle: bool, seed: int) -> None:
    if shuffle:
        random.Random(seed).shuffle(entries)


def _write(
    database: PathLike,
    plan: Plan,
    entries: Sequence[Entry],
    threads: int,
    on_start: Callable[[int], None],
    on_progress: Callable[[int], None],
    on_bad: Callable[[Entry, str], None],
) -> BuildReport:
    return write_database(
        database, plan, skip_bad=True, threads=threads, on_start=on_start, on_progress=on_progress,
        on_bad=lambda index, why: on_bad(entries[index], why),
    )  # fmt: skip
