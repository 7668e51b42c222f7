"""COCO for detection: pictures, each with its own annotation file."""

from __future__ import annotations

import os
import re
from collections import Counter
from functools import partial
from pathlib import Path, PurePosixPath

from caffecompat.data.annotated_recipes import label_map_text
from caffecompat.data.lists.listing import LayoutError, Listing, ListReport, OnProgress, OnSkip, Skipped
from caffecompat.errors import CaffeCompatError
from caffecompat.formats.annotations import split_coco

__all__ = ["list_coco"]

# The 80 categories of the instances, whose ids leave out ten of 1 to 90.
_NAMES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
_UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
_CATEGORIES = dict(zip((number for number in range(1, 91) if number not in _UNUSED), _NAMES, strict=True))


def list_coco(
    root: str | os.PathLike[str],
    out: str | os.PathLike[str] = ".",
    *,
    labels: str | os.PathLike[str] | None = None,
    relative: bool = True,
    force: bool = False,
    on_progress: OnProgress = lambda done, total: None,
    on_skip: OnSkip = lambda why: None,
) -> ListReport:
    """Write lists of COCO for detection: 'picture annotation' lines, as convert_annoset (label_type json) reads them.

    Each annotations/instances_SPLIT.json whose pictures are there, in SPLIT or images/SPLIT, is taken apart: a file a
    picture in annotations/SPLIT, as SSD's split_annotation.py makes them; those that are there are kept. Lists follow
    the order of the instances, pictures without objects among them; they are called train.txt and val.txt where there
    is one year. The label map, labelmap.prototxt, gives the 80 categories, whose ids are among 1 to 90, the numbers 1
    to 80 in the order of ids; categories of another set are numbered alike.

    Args:
        root: the folder with annotations and train2017, val2017 (or images/train2017, ...).
        labels: folder for the annotation files; by default they lie in annotations.
        out, relative, force, on_progress, on_skip: as of `list_voc`.

    Raises:
        LayoutError, WriteError: as of `list_voc`.
        AnnotationError: the instances cannot be read.

    >>> import caffecompat
    >>> caffecompat.list_coco("coco", "coco_lists").lists
    {'coco_lists/train.txt': 2, 'coco_lists/val.txt': 1}
    >>> open("coco_lists/val.txt").read()
    'val2017/000000000003.jpg annotations/val2017/000000000003.json\\n'
    """
    listing = Listing(
        root, out, labels=labels, relative=relative, force=force, on_progress=on_progress, on_skip=on_skip
    )
    splits = _splits(listing)
    years = Counter(_without_year(split) for split in splits)
    names = {split: split if years[_without_year(split)] > 1 else _without_year(split) for split in splits}
    listing.refuse_existing((f"{name}.txt" for name in names.values()), "labelmap.prototxt")
    categories: dict[int, str] = {}
    for split, pictures in splits.items():
        path = _annotations(listing, split)
        contents, found = split_coco(path)
        if categories.keys() & found.keys() and any(categories.get(key, name) != name for key, name in found.items()):
            raise CaffeCompatError(f"{path} has other names for the categories than the file before it")
        categories |= found
        _add(listing, f"{names[split]}.txt", split, pictures, contents)
    if categories.items() <= _CATEGORIES.items():
        categories = _CATEGORIES
    numbered = enumerate(sorted(categories), 1)
    text = label_map_text([(str(key), number, categories[key]) for number, key in numbered])
    return listing.write({"labelmap.prototxt": text})


def _annotations(listing: Listing, split: str) -> Path:
    return Path(listing.root, "annotations", f"instances_{split}.json")


def _splits(listing: Listing) -> dict[str, Path]:
    """The folders of pictures by split, of those that have instances."""
    base = Path(listing.root)
    found: dict[str, Path] = {}
    for path in sorted((base / "annotations").glob("instances_*.json")):
        split = path.stem.removeprefix("instances_")
        places = [place for place in (base / split, base / "images" / split) if place.is_dir()]
        if places:
            found[split] = places[0]
        else:
            listing.skip(f"{path}: there is no folder {base / split} or {base / 'images' / split} with its pictures")
    if not found:
        raise LayoutError.of(listing.root, "COCO", "annotations/instances_train2017.json with the pictures in "
                             "train2017/ or images/train2017/, and val2017 alike")  # fmt: skip
    return found


def _without_year(split: str) -> str:
    return re.sub(r"(?<=\D)\d{4}$", "", split)


def _add(listing: Listing, target: str, split: str, pictures: Path, contents: dict[str, str]) -> None:
    """Add the pictures of a split to a list, and make their annotation files."""
    folder = Path(listing.root, "annotations", split)
    places: dict[str, Path] = {}
    for name in contents:
        try:
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise Skipped(f"{_annotations(listing, split)}: {name!r} leads out of the folder of pictures")
            listing.require(pictures / name)
            places[name] = listing.made_path((folder / name).with_suffix(".json"))
        except Skipped as why:
            listing.skip(str(why))
    listing.make({place: partial(contents[name].encode) for name, place in places.items()})
    for name, place in places.items():
        listing.add_picture(target, pictures / name, place)
