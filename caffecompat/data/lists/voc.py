"""Pascal VOC for detection: pictures and annotations of its own splits."""

from __future__ import annotations

import os
from pathlib import Path

from caffecompat.data.annotated_recipes import label_map_text
from caffecompat.data.lists.listing import LayoutError, Listing, ListReport, OnProgress, OnSkip, Skipped
from caffecompat.data.parallel import ordered_map
from caffecompat.data.voc_folders import voc_folders
from caffecompat.formats.annotations import AnnotationError, class_names_of_xml

__all__ = ["SPLITS", "VOC_CLASSES", "list_voc"]

SPLITS = ("train", "val", "trainval", "test")
VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def list_voc(
    root: str | os.PathLike[str],
    out: str | os.PathLike[str] = ".",
    *,
    relative: bool = True,
    force: bool = False,
    on_progress: OnProgress = lambda done, total: None,
    on_skip: OnSkip = lambda why: None,
) -> ListReport:
    """Write lists of Pascal VOC for detection: 'picture annotation' lines, as convert_annoset and `lmdb build` read.

    The splits are those of ImageSets/Main (train, val, trainval, test), of several years one after the other; the label
    map, labelmap.prototxt, has VOC's 20 classes as 1 to 20, or, where annotations name others, those found in the order
    of their names.

    Args:
        root: a year (VOC2012), or a folder of years (VOCdevkit).
        out: folder to write the lists to.
        relative: paths start from the report's root_folder; else they are absolute.
        force: write over lists that are there.
        on_progress: called with how many annotations are looked at, and of how many.
        on_skip: called with each picture that is left out, and why.

    Raises:
        LayoutError: the folder is laid out in another way.
        WriteError: a list is there already and `force` is not set, or cannot be written.

    >>> import caffecompat
    >>> report = caffecompat.list_voc("VOCdevkit", "voc_lists")
    >>> (report.lists["voc_lists/train.txt"], report.root_folder)
    (3, 'VOCdevkit/')
    >>> open("voc_lists/train.txt").readline()
    'VOC2012/JPEGImages/2008_000001.jpg VOC2012/Annotations/2008_000001.xml\\n'
    """
    listing = Listing(root, out, relative=relative, force=force, on_progress=on_progress, on_skip=on_skip)
    years = voc_folders(root, "Annotations", "JPEGImages")
    splits = [(split, path) for split in SPLITS for year in years
              if (path := year / "ImageSets/Main" / f"{split}.txt").is_file()]  # fmt: skip
    if not splits:
        raise LayoutError.of(listing.root, "Pascal VOC", "JPEGImages/, Annotations/ and ImageSets/Main/train.txt",
                             "folders of years (VOC2007/, VOC2012/) that have these")  # fmt: skip
    listing.refuse_existing((f"{split}.txt" for split, _ in splits), "labelmap.prototxt")
    names: set[str] = set()
    bad: dict[Path, str] = {}
    entries = [(split, *entry) for split, path in splits for entry in _entries(listing, path)]
    annotations = list(dict.fromkeys(annotation for *_, annotation in entries))
    for done, (path, found) in enumerate(zip(annotations, ordered_map(_classes, annotations), strict=True), 1):
        if isinstance(found, str):
            bad[path] = found
        else:
            names |= found
        listing.progress(done, len(annotations))
    for split, line, picture, annotation in entries:
        try:
            if annotation in bad:
                raise Skipped(f"{line}{bad[annotation]}")
            listing.add(f"{split}.txt", picture, annotation)
        except Skipped as why:
            listing.skip(str(why))
    classes = VOC_CLASSES if names <= set(VOC_CLASSES) else sorted(names)
    text = label_map_text([(name, number, name) for number, name in enumerate(classes, 1)])
    return listing.write({"labelmap.prototxt": text})


def _entries(listing: Listing, path: Path) -> list[tuple[str, Path, Path]]:
    """(place for messages, picture, annotation) of a split's lines whose files are there."""
    year = path.parents[2]
    entries = []
    for name, line in listing.names(path):
        picture, annotation = year / "JPEGImages" / f"{name}.jpg", year / "Annotations" / f"{name}.xml"
        try:
            listing.require(picture, line)
            listing.require(annotation, line)
        except Skipped as why:
            listing.skip(str(why))
        else:
            entries.append((line, picture, annotation))
    return entries


def _classes(annotation: Path) -> set[str] | str:
    """The classes an annotation names, or why it cannot be read."""
    try:
        return class_names_of_xml(annotation)
    except AnnotationError as problem:
        return str(problem)
