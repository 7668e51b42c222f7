"""Pictures and their annotations made into AnnotatedDatum records, as plans for `write_database`."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from caffecompat import glog
from caffecompat.data.build import BadRecord, BuildError, Plan
from caffecompat.data.parallel import ordered_map
from caffecompat.data.recipes import (
    ImageOptions,
    encoded_datum,
    has_type,
    load_picture,
    load_whole_picture,
    located,
    picture_datum,
    raw_datum,
    record_keys,
)
from caffecompat.data.voc_folders import voc_folders
from caffecompat.files import read_text
from caffecompat.formats.annotated_datum import AnnotatedDatum, encode_annotated_datum, no_objects
from caffecompat.formats.annotations import (
    AnnotationError,
    Annotations,
    class_names_of_xml,
    read_annotations,
    read_coco,
)
from caffecompat.formats.datum import Datum
from caffecompat.formats.image_list import ListedImage, ListedPair, read_pair_list
from caffecompat.formats.picture import check_size, resize_picture

__all__ = [
    "DetectionSet",
    "annoset_plan",
    "coco_set",
    "detection_plan",
    "is_voc_folder",
    "label_map_text",
    "listed_set",
    "voc_set",
]


def annoset_plan(
    root: str,
    entries: Sequence[ListedImage | ListedPair],
    *,
    label_type: str = "xml",
    numbers: Mapping[str, int] | None = None,
    color: bool = True,
    height: int = 0,
    width: int = 0,
    min_dim: int = 0,
    max_dim: int = 0,
    encoded: bool = False,
    encode_type: str = "",
    backend: str = "lmdb",
    check_size: bool = False,
) -> Plan:
    """What SSD's convert_annoset writes, byte for byte (`root` is put before each path as it is).

    Entries with an annotation file make records of boxes; those with a label, records without annotation type.
    A missing annotation file means a picture without objects. `min_dim` and `max_dim` scale pictures whose shorter
    side is less or whose longer side more, and win over `height` and `width`.
    """
    boxed = isinstance(entries[0], ListedPair)

    def picture(entry: ListedPair | ListedImage, label: int) -> tuple[Datum, tuple[int, int]]:
        path = root + entry[0]
        kind = encode_type or (entry[0].rpartition(".")[2].lower() if encoded else "")
        file, pixels = load_picture(path, color)
        size = pixels.shape[0], pixels.shape[1]
        if min_dim or max_dim:
            resized = _scaled(pixels, min_dim, max_dim)
        else:
            resized = resize_picture(pixels, height, width) if height and width else pixels
        if not kind:
            return raw_datum(resized, label), size
        if min_dim or max_dim or height or width or not has_type(path, kind):
            datum = encoded_datum(resized, kind, label, path)
        else:
            datum = Datum(data=file, label=label, encoded=True)
        datum.height, datum.width, datum.channels = resized.shape
        return datum, size

    def make(entry: ListedPair | ListedImage) -> AnnotatedDatum:
        if isinstance(entry, ListedImage):
            return AnnotatedDatum(picture(entry, entry.label)[0], type=None)
        datum, size = picture(entry, -1)
        path = root + entry.label
        if not os.path.exists(path):
            glog.warning(f"no annotation file {path}: {entry.image} gets no boxes", "io.cpp:270")
            return AnnotatedDatum(datum)
        return AnnotatedDatum(datum, _logged(read_annotations(path, label_type, size, numbers or {})))

    expected = _first_size(make, entries) if check_size else None

    def encode(index: int) -> Sequence[bytes]:
        record = make(entries[index])
        if expected is not None and len(record.datum.data or b"") != expected:
            raise BuildError(
                f"Incorrect data field size {len(record.datum.data or b'')}: {root}{entries[index][0]} differs from "
                f"the first image, of {expected} values (--check_size)"
            )
        return (encode_annotated_datum(record),)

    options = (root, boxed, label_type, sorted((numbers or {}).items()), color, height, width)
    identity = repr((options, min_dim, max_dim, encoded, encode_type, list(entries)))
    return Plan(record_keys([entry[0] for entry in entries]), encode, identity, backend=backend)


def _scaled(picture: np.ndarray, least: int, most: int) -> np.ndarray:
    """Enlarged until the shorter side is `least`, or changed until the longer is `most`, if that is exceeded."""
    import cv2

    height, width, channels = picture.shape
    scale = np.float32(1)
    if least > 0 and min(height, width) < least:
        scale = np.float32(least) / np.float32(min(height, width))
    if most > 0 and int(scale * np.float32(max(height, width))) > most:
        scale = np.float32(most) / np.float32(max(height, width))
    if scale == 1:
        return picture
    check_size(int(height * scale), int(width * scale), "the resized picture")
    resized = cv2.resize(picture, None, fx=float(scale), fy=float(scale))
    return resized.reshape(*resized.shape[:2], channels)


def _first_size(
    make: Callable[[ListedPair | ListedImage], AnnotatedDatum], entries: Sequence[ListedImage | ListedPair]
) -> int | None:
    """Channels times height times width of the first entry that can be read."""
    for entry in entries:
        try:
            channels, height, width = make(entry).datum.shape
            return channels * height * width
        except BadRecord:
            continue
    return None


def _logged(annotations: Annotations) -> np.ndarray:
    for warning in annotations.warnings:
        glog.warning(warning, "io.cpp:350")
    return annotations.objects


class DetectionSet(NamedTuple):
    """Pictures with boxes, ready to be put into a database.

    Attributes:
        paths: of the pictures, as the keys show them.
        folder: where relative paths start.
        objects: index, (height, width) of the picture -> its annotations. Raises AnnotationError.
        label_map: the label map's text, to keep with the database.
        where: the list's name for messages, and the line of each picture; or "" and ().
    """

    paths: list[str]
    folder: str
    objects: Callable[[int, tuple[int, int]], Annotations]
    label_map: str
    where: str = ""
    lines: Sequence[int] = ()

    def shuffled(self, seed: int) -> DetectionSet:
        """The same in random order."""
        order = list(range(len(self.paths)))
        random.Random(seed).shuffle(order)
        return self._replace(
            paths=[self.paths[index] for index in order],
            objects=lambda index, size: self.objects(order[index], size),
            lines=[self.lines[index] for index in order] if self.lines else (),
        )


def detection_plan(found: DetectionSet, options: ImageOptions, *, backend: str = "lmdb") -> Plan:
    """One record a picture with its boxes; the label map lies in the database's folder as labelmap.prototxt."""

    def encode(index: int) -> Sequence[bytes]:
        path = os.path.join(found.folder, found.paths[index])
        line = found.lines[index] if found.lines else 0
        try:
            file, picture = load_whole_picture(path, options.color)
            datum = picture_datum(file, picture, -1, options, path)
            try:
                objects = _logged(found.objects(index, (picture.shape[0], picture.shape[1])))
            except AnnotationError as error:
                raise BadRecord(str(error)) from None
        except BadRecord as bad:
            raise located(bad, found.where, line) from None
        return (encode_annotated_datum(AnnotatedDatum(datum, objects)),)

    identity = repr((asdict(options), found.folder, found.paths, found.label_map))
    extras = {"labelmap.prototxt": found.label_map} if found.label_map else {}
    keys = record_keys(found.paths)
    return Plan(keys, encode, identity, backend=backend, extras=extras, layer_type="AnnotatedData")


def is_voc_folder(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder has Pascal VOC's layout, or holds one that has (VOCdevkit)."""
    return bool(_voc_roots(folder))


def _voc_roots(folder: str | os.PathLike[str]) -> list[Path]:
    return voc_folders(folder, "Annotations", "JPEGImages")


def voc_set(
    folder: str | os.PathLike[str], which: str, numbers: Mapping[str, int] | None = None, label_map: str = ""
) -> DetectionSet:
    """A Pascal VOC folder (or VOCdevkit, with several years): the pictures of ImageSets/Main/<which>.txt.

    Args:
        numbers: class numbers by name; None numbers the classes found from 1, in the order of the alphabet.
        label_map: the text of `numbers`.

    Raises:
        BuildError: no year has that list; names those there are.
        AnnotationError: an annotation cannot be read (when the classes have to be found).
    """
    base = Path(folder)
    entries: list[tuple[str, Path]] = []
    for root in _voc_roots(base):
        listed = root / "ImageSets" / "Main" / f"{which}.txt"
        if not listed.is_file():
            continue
        pictures = {path.stem: path.name for path in (root / "JPEGImages").iterdir()}
        inside = "" if root == base else root.relative_to(base).as_posix() + "/"
        for line in read_text(listed, "the list").split("\n"):
            if not line.strip():
                continue
            name = line.split()[0]
            picture = pictures.get(name, name + ".jpg")
            entries.append((f"{inside}JPEGImages/{picture}", root / "Annotations" / f"{name}.xml"))
    if not entries:
        known = sorted({path.stem for root in _voc_roots(base) for path in (root / "ImageSets/Main").glob("*.txt")})
        shown = ", ".join(known[:20]) or "there are none"
        raise BuildError(f"{base} has no list ImageSets/Main/{which}.txt; say which with --set: {shown}")
    if numbers is None:
        names = sorted(set().union(*ordered_map(class_names_of_xml, [path for _, path in entries])))
        numbers = {name: number for number, name in enumerate(names, 1)}
        label_map = label_map_text([(name, number, name) for name, number in numbers.items()])
    known_numbers = numbers

    def objects(index: int, size: tuple[int, int]) -> Annotations:
        return read_annotations(entries[index][1], "xml", size, known_numbers)

    return DetectionSet([path for path, _ in entries], str(base), objects, label_map)


def coco_set(
    path: str | os.PathLike[str], images: str, numbers: Mapping[str, int] | None = None, label_map: str = ""
) -> DetectionSet:
    """A COCO instances file, whose pictures lie in the folder `images`.

    Args:
        numbers: class numbers by category id or name; None numbers the categories from 1 in the order of their ids,
            as SSD's label map of COCO does.
    """
    coco = read_coco(path)
    if numbers is None:
        order = {identity: number for number, identity in enumerate(coco.categories, 1)}
        label_map = label_map_text([(str(key), order[key], name) for key, name in coco.categories.items()])
        by_id = {str(identity): number for identity, number in order.items()}
    else:
        by_id = {
            str(identity): numbers[key]
            for identity, name in coco.categories.items()
            for key in (str(identity), name)
            if key in numbers
        }

    def objects(index: int, size: tuple[int, int]) -> Annotations:
        return coco.pictures[index].annotations(os.fspath(path), size, by_id)

    return DetectionSet([picture.path for picture in coco.pictures], images, objects, label_map)


def listed_set(
    path: str | os.PathLike[str], root: str, numbers: Mapping[str, int] | None, label_map: str = ""
) -> DetectionSet:
    """A list of 'picture annotation-file' lines, the annotations .xml, .json or .txt."""
    entries = read_pair_list(path)
    files = [os.path.join(root, entry.label) for entry in entries]
    if numbers is None and any(file.lower().endswith(".xml") for file in files):
        names = sorted(set().union(*ordered_map(class_names_of_xml, [f for f in files if f.lower().endswith(".xml")])))
        numbers = {name: number for number, name in enumerate(names, 1)}
        label_map = label_map_text([(name, number, name) for name, number in numbers.items()])

    def objects(index: int, size: tuple[int, int]) -> Annotations:
        kind = files[index].rpartition(".")[2].lower()
        if not os.path.exists(files[index]):
            return Annotations(no_objects(), [f"no annotation file {files[index]}: no boxes"])
        return read_annotations(files[index], kind, size, numbers or {})

    lines = [entry.line for entry in entries]
    return DetectionSet([entry.image for entry in entries], root, objects, label_map, os.fspath(path), lines)


def label_map_text(classes: Sequence[tuple[str, int, str]]) -> str:
    """A label map of (name, number, display name), with the background as 0 before them."""
    from caffecompat.schema import pb, write_text

    label_map = pb.LabelMap()
    for name, number, shown in (("none_of_the_above", 0, "background"), *classes):
        label_map.item.add(name=name, label=number, display_name=shown)
    return write_text(label_map)
