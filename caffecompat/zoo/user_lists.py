"""Lists of a user's files: of pictures with their classes, of pairs of pictures, of pictures with annotations."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from caffecompat.data.database_plan import annotated_set
from caffecompat.data.parallel import ordered_map
from caffecompat.errors import CaffeCompatError
from caffecompat.files import read_text
from caffecompat.formats.annotations import read_coco
from caffecompat.formats.atomic import is_same_file
from caffecompat.formats.image_list import lists_pairs, read_image_list, read_pair_list
from caffecompat.formats.label_map import parse_label_map
from caffecompat.formats.picture_header import picture_size
from caffecompat.zoo.network import Source, Task
from caffecompat.zoo.user_data import Listed

__all__ = ["open_annotated", "open_list"]

_SAMPLE = 200  # pictures whose sizes are looked at
_HEAD = 1 << 16  # bytes of a file that have its size
_ANNOTATIONS = (".xml", ".json", ".txt")
_LINES: Mapping[Task, str] = {
    "classification": "picture class",
    "segmentation": "picture label-picture",
    "detection": "picture annotation-file",
}
_NAMES = ("classes.txt", "labels.txt")  # that may lie next to a list


def open_list(path: str, task: Task, root: str = "") -> Listed:
    """Look at a list of a classification or a segmentation network.

    Args:
        root: put before its paths, as Caffe's root_folder; where that is "" and the paths start from the list's own
            folder rather than from the current one, it is that.

    Raises:
        CaffeCompatError: it cannot be read, is for another task, or names pictures that are not there.
    """
    _check_kind(path, task)
    entries = read_pair_list(path) if task == "segmentation" else read_image_list(path)
    folder = root or _own_folder(path, entries[0][0])
    lines = [(entry[0], entry[1], entry.line) for entry in entries]
    negative = next((line for _, label, line in lines if isinstance(label, int) and label < 0), 0)
    if negative:
        raise CaffeCompatError(f"{path}:{negative}: the class is negative; classes count from 0")
    return Listed(
        source=Source(path, root_folder=folder),
        records=len(lines),
        names=_names(path),
        sizes=_sizes(path, folder, [(picture, line) for picture, _, line in lines]),
        lines=lines,
    )


def open_annotated(path: str, built: str, root: str = "", label_map: str = "") -> Listed:
    """Look at pictures with boxes of which a database is yet to be built.

    Args:
        path: a list, or COCO's instances_*.json.
        built: where that database will be.
        root: where the pictures are, as ``lmdb build --root``; of COCO's also the folder that has train2017 and so on.
        label_map: the file with the numbers of the classes; by default they are those found.

    Raises:
        CaffeCompatError: it cannot be read, or is for another task.
    """
    if path.lower().endswith(".json"):
        root = _coco_folder(path, root)
    else:
        _check_kind(path, "detection")
    label_map = label_map or _beside(path, "labelmap.prototxt")
    found = annotated_set(path, root or None, "", label_map)
    if found is None or not found.paths:
        raise CaffeCompatError(f"{path}: expected a list of lines '{_LINES['detection']}', or COCO's instances_*.json")
    if not found.label_map:
        raise CaffeCompatError(f"{path}: its annotations have class numbers alone; give the label map with --labels")
    names = parse_label_map(found.label_map, label_map or path, unique=False).display
    places = list(zip(found.paths, found.lines or [0] * len(found.paths), strict=True))
    folder = os.path.join(found.folder, "")
    return Listed(
        source=Source(built, lmdb=True, root_folder=folder),
        records=len(places),
        names=names,
        label_map=found.label_map,
        sizes=_sizes(path, folder, places),
        lines=[(picture, 0, line) for picture, line in places],
    )


def _check_kind(path: str, task: Task) -> None:
    """Refuse a list whose first line is of another task's kind."""
    if not os.path.isfile(path):
        raise CaffeCompatError(f"{path}: there is no such list or database")
    kind: Task = "classification"
    if lists_pairs(path):
        second = read_pair_list(path)[0].label.lower()
        kind = "detection" if second.endswith(_ANNOTATIONS) else "segmentation"
    if kind != task:
        raise CaffeCompatError(
            f"{path} has lines '{_LINES[kind]}', for {kind}; the network is for {task}, whose lists have lines "
            f"'{_LINES[task]}'"
        )


def _coco_folder(path: str, root: str) -> str:
    """The folder of the pictures of instances_<set>.json: `root`, its <set>, or that next to the file's own folder."""
    own = os.path.dirname(path)
    split = os.path.basename(path).partition(".")[0].removeprefix("instances_")
    pictures = [picture.path for picture in read_coco(path).pictures[:1]]
    folders = [root, os.path.join(root, split)] if root else [own, os.path.normpath(os.path.join(own, "..", split))]
    fitting = (folder for folder in folders if all(os.path.isfile(os.path.join(folder, name)) for name in pictures))
    return next(fitting, root)


def _own_folder(path: str, first: str) -> str:
    """The list's folder, with a slash, where its first path starts from there; else ""."""
    near = os.path.join(os.path.dirname(path), "")
    return near if near and not os.path.exists(first) and os.path.exists(near + first) else ""


def _names(path: str) -> dict[int, str]:
    """Names of the classes, of a file next to the list."""
    beside = next(filter(None, (_beside(path, name) for name in _NAMES)), "")
    if not beside:
        return {}
    lines = [line.strip() for line in read_text(beside, "the class names").split("\n")]
    return dict(enumerate(line for line in lines if line))


def _beside(path: str, name: str) -> str:
    """The file of that name next to the list, if there is one and it is not the list."""
    found = os.path.join(os.path.dirname(path), name)
    return found if os.path.isfile(found) and not is_same_file(found, path) else ""


def _sizes(path: str, root: str, files: Sequence[tuple[str, int]]) -> list[tuple[int, int]]:
    """(height, width) of some of the pictures, spread over the list.

    Raises:
        CaffeCompatError: one is not there.
    """

    def size(file: tuple[str, int]) -> tuple[int, int] | None:
        name, line = root + file[0], file[1]
        try:
            with open(name, "rb") as picture:
                return picture_size(picture.read(_HEAD))
        except OSError as problem:
            where = f"{path}:{line}" if line else path
            raise CaffeCompatError(
                f"{where}: cannot read {name}: {problem.strerror}; if the list's paths start from another folder, give "
                "it with --root-folder"
            ) from None

    step = max(1, len(files) // _SAMPLE)
    return [found for found in ordered_map(size, files[::step]) if found is not None]
