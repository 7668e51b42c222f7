"""From pictures and labels in any arrangement to a database."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

from caffecompat import glog
from caffecompat.arguments import as_count, as_names, as_size
from caffecompat.data.annotated_recipes import (
    DetectionSet,
    coco_set,
    detection_plan,
    is_voc_folder,
    listed_set,
    voc_set,
)
from caffecompat.data.augmented_build import augmented_plan, read_transform
from caffecompat.data.build import BuildError, BuildReport, Plan, write_database
from caffecompat.data.recipes import ImageOptions, class_folder_entries, image_plan, missing_files, pair_plan
from caffecompat.files import read_text
from caffecompat.formats.image_list import lists_pairs, read_image_list, read_pair_list
from caffecompat.formats.label_map import read_class_numbers

__all__ = ["annotated_set", "build_database", "plan_database"]

_MOST_MISSING = 100


def build_database(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    root: str | None = None,
    size: tuple[int, int] | None = None,
    color: bool = True,
    encoding: str = "auto",
    which: str = "trainval",
    label_map: str = "",
    shuffle: bool | None = None,
    seed: int = 0,
    names: Sequence[str] = (),
    backend: str = "lmdb",
    shards: int = 1,
    augment: int = 0,
    transform: str | os.PathLike[str] = "",
    skip_bad: bool = False,
    threads: int = 0,
    on_progress: Callable[[int], None] = lambda done: None,
    on_bad: Callable[[int, str], None] = lambda index, why: None,
) -> BuildReport:
    """Make a database of pictures and labels; a build that was interrupted goes on where it stopped.

    Args:
        source: a list of lines "path label" (Datums with a class), "image label-image" (two databases of the same keys,
            image/ and label/, for segmentation) or "image annotation.xml" (AnnotatedDatums, for detection); a folder of
            class folders; a Pascal VOC folder; or COCO's instances (.json).
        out: the folder to make; it must not exist.
        root: folder of relative paths, or of COCO's pictures; the current one by default, or the list's.
        size: (height, width) in pixels to resize to (labels by nearest); None keeps each picture's own.
        color: three channels in B, G, R order, or one.
        encoding: "auto" (a file's own bytes where nothing changes them), "png", "jpg" or "raw".
        which: of a VOC folder the list ImageSets/Main/WHICH.txt.
        label_map: file with the numbers of the annotations' classes; by default from 1, in the order of names or ids.
        shuffle: mix the records; by default class folders are mixed, lists are not.
        seed: of the shuffling and of `augment`.
        names: of the classes 0, 1, ..., to be kept with the database.
        backend: "lmdb" or "leveldb".
        shards: databases to spread the records over, in the folder `out` (of pairs: in out/image and out/label); read
            as one where `out` is named.
        augment: enlarge the set: each record that many times, each time changed at random, deterministic by the seed;
            boxes and label pictures follow. The changed pictures take the places of the given ones. 0 changes nothing.
        transform: file that says how: a transform_param, as of a data layer in TRAIN; by default pictures are mirrored
            or not, and brightness, contrast, saturation and hue vary.
        skip_bad: leave out pictures that are missing or damaged.
        threads: that encode; 0 is one a core.
        on_progress: called after each batch with how many records are dealt with, by the calling thread.
        on_bad: called with each record that cannot be made, and why.

    Raises:
        BuildError: `out` exists, a build of it is running, there are more shards than records, or pictures are missing
            or damaged and `skip_bad` is not set: what could be made is kept, and the same call later makes only those
            again.
        CaffeCompatError: the source cannot be read, or writing fails.

    >>> import caffecompat
    >>> report = caffecompat.build_database("list.txt", "train_lmdb", size=(8, 8), names=("dark", "bright"))
    >>> (report.written, report.bad)
    (4, {})
    """
    height, width = as_size(size) or (0, 0)
    names = as_names(names, "names")
    options = ImageOptions(color, height, width, encoding)
    plan = plan_database(
        source, options, root=root, which=which, label_map=label_map, shuffle=shuffle, seed=seed, names=names,
        backend=backend, skip_missing=skip_bad, augment=augment, transform=transform,
    )  # fmt: skip
    plan.shards = as_count(shards, "shards") or 1
    return write_database(out, plan, skip_bad=skip_bad, threads=threads, on_progress=on_progress, on_bad=on_bad)


def plan_database(
    source: str | os.PathLike[str],
    options: ImageOptions,
    *,
    root: str | None = None,
    which: str = "trainval",
    label_map: str = "",
    shuffle: bool | None = None,
    seed: int = 0,
    names: Sequence[str] = (),
    backend: str = "lmdb",
    skip_missing: bool = False,
    augment: int = 0,
    transform: str | os.PathLike[str] = "",
) -> Plan:
    """What `write_database` is to make of a source; arguments and errors as of `build_database`."""
    settings = _Settings(root, which, label_map, shuffle, seed, names, backend, skip_missing)
    count = as_count(augment, "augment", 0) or 0
    if not count:
        if transform:
            raise BuildError("a transform is for enlarged sets: say how many times with augment")
        return _plan(source, options, settings)
    plan = _plan(source, replace(options, encoding="raw"), settings)
    changes = read_transform(os.fspath(transform), plan.layer_type, color=options.color)
    return augmented_plan(plan, count, changes, encoding=options.encoding, seed=seed)


@dataclass(frozen=True)
class _Settings:
    """Arguments of `plan_database`."""

    root: str | None
    which: str
    label_map: str
    shuffle: bool | None
    seed: int
    names: Sequence[str]
    backend: str
    skip_missing: bool


def _plan(source: str | os.PathLike[str], options: ImageOptions, settings: _Settings) -> Plan:
    """The plan of the records as they are."""
    root, shuffle, seed, names = settings.root, settings.shuffle, settings.seed, settings.names
    backend, skip_missing = settings.backend, settings.skip_missing
    path = os.fspath(source)
    annotated = annotated_set(path, root, settings.which, settings.label_map)
    if annotated is not None:
        if shuffle:
            annotated = annotated.shuffled(seed)
        places = list(zip(annotated.paths, annotated.lines or repeat(0), strict=False))
        _check_present(places, annotated.where, annotated.folder, skip_missing)
        return detection_plan(annotated, options, backend=backend)
    if os.path.isdir(path):
        images, classes = class_folder_entries(path, shuffle_seed=None if shuffle is False else seed)
        return image_plan(images, "", options, root=path, backend=backend, classes=names or classes)
    pairs = lists_pairs(path)
    entries: list[Any] = read_pair_list(path) if pairs else read_image_list(path)
    folder = _root(path, root, entries[0][0])
    files = [(entry[0], entry.line) for entry in entries]
    if pairs:
        files += [(entry.label, entry.line) for entry in entries]
    _check_present(files, path, folder, skip_missing)
    if shuffle:
        random.Random(seed).shuffle(entries)
    plan = pair_plan if pairs else image_plan
    return plan(entries, path, options, root=folder, backend=backend, classes=names)


def _check_present(files: Sequence[tuple[str, int]], where: str, root: str, skip: bool) -> None:
    """Name what is not there before hours of work on the rest."""
    missing = [] if skip else missing_files(files, where, root)
    if missing:
        shown = "\n".join(f"  {line}" for line in missing[:_MOST_MISSING])
        more = f"\n  ... and {len(missing) - _MOST_MISSING} more" if len(missing) > _MOST_MISSING else ""
        raise BuildError(
            f"{len(missing)} of {len(files)} files are missing:\n{shown}{more}\n"
            "Give the folder of relative paths with --root, or leave these out with --skip-bad."
        )


def annotated_set(source: str, root: str | None, which: str, label_map: str) -> DetectionSet | None:
    """The pictures with boxes that a source means, or None: it means something else.

    Arguments and errors are those of `build_database`.
    """
    numbers, text = None, ""
    if label_map:
        numbers = read_class_numbers(label_map)
        text = read_text(label_map, "the label map")
    if os.path.isdir(source):
        return voc_set(source, which, numbers, text) if is_voc_folder(source) else None
    if source.lower().endswith(".json"):
        return coco_set(source, root or os.path.dirname(source), numbers, text)
    if not lists_pairs(source):
        return None
    first = read_pair_list(source)[0]
    if not first.label.lower().endswith((".xml", ".json", ".txt")):
        return None
    return listed_set(source, _root(source, root, first.image), numbers, text)


def _root(source: str, root: str | None, first: str) -> str:
    """The root given; else relative paths start from the current folder, as in Caffe, or else from the list's."""
    near = os.path.dirname(source)
    if root is None and near and not os.path.exists(first) and os.path.exists(os.path.join(near, first)):
        glog.info(f"{first} is not in the current directory; taking the list's paths from {near}", "lmdb.py:1")
        return near
    return root or ""
