"""Files that say which objects a picture shows: Pascal VOC's XML, SSD's JSON and text files, COCO's instances.

All become rows (G, 7) as `AnnotatedDatum.objects` has them. Rules are those of SSD's convert_annoset (io.cpp): boxes
are divided by the size that the file states, or else the picture's; instances of a class count from 0.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np

from caffecompat.errors import CaffeCompatError, brief
from caffecompat.files import read_json, read_text
from caffecompat.formats.annotated_datum import no_objects
from caffecompat.wording import did_you_mean, few

__all__ = [
    "ANNOTATION_KINDS",
    "AnnotationError",
    "Annotations",
    "Coco",
    "CocoPicture",
    "class_names_of_xml",
    "read_annotations",
    "read_coco",
    "split_coco",
]


_LARGEST = float(np.finfo(np.float32).max)

# What Python says where the content of a JSON file has another form than expected.
_WRONG_FORM = (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError)


class AnnotationError(CaffeCompatError):
    """An annotation file that cannot be read or makes no sense."""


@dataclass
class Annotations:
    """The objects of one picture, and what looks wrong with them (a line each)."""

    objects: np.ndarray = field(default_factory=no_objects)
    warnings: list[str] = field(default_factory=list)


class _Box(NamedTuple):
    """In pixels."""

    name: str
    corners: tuple[float, float, float, float]
    difficult: bool


def read_annotations(
    path: str | os.PathLike[str], kind: str, size: tuple[int, int], numbers: Mapping[str, int]
) -> Annotations:
    """Read the objects of one picture.

    Args:
        kind: "xml", "json" or "txt".
        size: (height, width) of the picture.
        numbers: class numbers by name; text files hold numbers and do not need it.

    Raises:
        AnnotationError: the file cannot be read, or names a class that `numbers` does not have.
    """
    name = os.fspath(path)
    stated, boxes = ANNOTATION_KINDS[kind](name)
    return _annotations(name, stated, size, boxes, numbers if kind != "txt" else None)


def _annotations(
    name: str,
    stated: tuple[int, int] | None,
    size: tuple[int, int],
    boxes: Sequence[_Box],
    numbers: Mapping[str, int] | None,
) -> Annotations:
    height, width = stated or size
    if height <= 0 or width <= 0 or not _is_float32(max(height, width)):
        raise AnnotationError(f"{name}: no valid image width/height ({width}x{height})")
    result = Annotations()
    if stated is not None and stated != size:
        result.warnings.append(
            f"{name} says {width}x{height}, the image is {size[1]}x{size[0]}: inconsistent image size"
        )
    seen: Counter[int] = Counter()
    rows = []
    for box in boxes:
        label = int(box.name) if numbers is None else _number(name, box.name, numbers)
        if not all(map(_is_float32, box.corners)):
            raise AnnotationError(f"{name}: {_text(box)} has a corner that is not a plausible number of pixels")
        left, top, right, bottom = box.corners
        if left < 0 or top < 0 or right > width or bottom > height or left > width or top > height:
            result.warnings.append(f"{name}: {_text(box)} bounding box exceeds image boundary, {width}x{height}")
        if left > right or top > bottom:
            result.warnings.append(f"{name}: {_text(box)} bounding box irregular")
        corners = np.array(box.corners, np.float32) / np.array([width, height] * 2, np.float32)
        rows.append([label, seen[label], *corners.tolist(), box.difficult])
        seen[label] += 1
    result.objects = np.array(rows, np.float32).reshape(-1, 7)
    return result


def _is_float32(value: float) -> bool:
    """Whether a number is finite and not too large for float32, in which boxes are stored."""
    return abs(value) <= _LARGEST  # not so for nan


def _number(name: str, label: str, numbers: Mapping[str, int]) -> int:
    if label in numbers:
        return numbers[label]
    hint = did_you_mean(label, numbers, quoted=True) or f"; it has {few(list(numbers), 12)}"
    raise AnnotationError(f"{name}: Unknown name: {label} is not in the label map{hint}")


def _text(box: _Box) -> str:
    return f"{box.name} ({', '.join(f'{side:g}' for side in box.corners)})"


def _read_text(name: str) -> str:
    return read_text(name, "the annotations", AnnotationError)


def _read_xml(name: str) -> tuple[tuple[int, int] | None, list[_Box]]:
    """VOC and ILSVRC: <annotation> with <size> and <object>s, in whole pixels (fractions are kept as they are)."""
    root = _xml_root(name)
    size = tuple(_xml_number(name, root.find("size"), side, 0) for side in ("height", "width"))
    boxes = []
    for thing in root.iter("object"):
        box = thing.find("bndbox")
        if box is None:
            raise AnnotationError(f"{name}: the object {_xml_name(name, thing)!r} has no bndbox")
        left, top, right, bottom = (_xml_number(name, box, side, 0) for side in ("xmin", "ymin", "xmax", "ymax"))
        difficult = (thing.findtext("difficult") or "").strip() == "1"
        boxes.append(_Box(_xml_name(name, thing), (left, top, right, bottom), difficult))
    return ((int(size[0]), int(size[1])) if all(size) else None), boxes


def _xml_root(name: str) -> ElementTree.Element:
    try:
        root = ElementTree.fromstring(_read_text(name))
    except ElementTree.ParseError as error:
        line, column = error.position
        reason = str(error).partition(":")[0]
        raise AnnotationError(f"{name}:{line}:{column + 1}: this is not XML: {reason}") from None
    if root.tag != "annotation":
        raise AnnotationError(f"{name}: expected <annotation> at the top, found <{root.tag}>")
    return root


def _xml_name(name: str, thing: ElementTree.Element) -> str:
    text = (thing.findtext("name") or "").strip()
    if not text:
        raise AnnotationError(f"{name}: an object has no name")
    return text


def _xml_number(name: str, parent: ElementTree.Element | None, tag: str, default: float) -> float:
    text = parent.findtext(tag) if parent is not None else None
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not _is_float32(value):
        raise AnnotationError(f"{name}: <{tag}>{text[:100]}</{tag}> is not a number of a plausible size")
    return value


def class_names_of_xml(path: str | os.PathLike[str]) -> set[str]:
    """The names of the classes that a VOC annotation mentions."""
    return {_xml_name(os.fspath(path), thing) for thing in _xml_root(os.fspath(path)).iter("object")}


def _read_json(name: str) -> tuple[tuple[int, int] | None, list[_Box]]:
    """SSD's split of COCO: {"image": {height, width}, "annotation": [{category_id, bbox: [x, y, w, h], iscrowd}]}."""
    content = read_json(name, "the annotations", AnnotationError)
    try:
        image = content.get("image", {})
        stated = (int(image["height"]), int(image["width"])) if "height" in image and "width" in image else None
        return stated, [_coco_box(entry, str(entry["category_id"])) for entry in content["annotation"]]
    except _WRONG_FORM as error:
        raise AnnotationError(
            f'{name}: expected {{"image": ..., "annotation": [{{"category_id", "bbox": [x, y, width, height]}}]}} '
            f"({type(error).__name__}: {brief(error)})"
        ) from None


def _coco_box(entry: Any, name: str) -> _Box:
    """Crowds count as difficult."""
    bbox = [float(side) for side in entry["bbox"]]
    if not all(map(_is_float32, bbox)):
        raise ValueError(f"bbox {bbox} has a value that is not a plausible number of pixels")
    x, y, width, height = map(np.float32, bbox)
    return _Box(name, (float(x), float(y), float(x + width), float(y + height)), bool(entry.get("iscrowd", 0)))


def _read_txt(name: str) -> tuple[tuple[int, int] | None, list[_Box]]:
    """A line an object: class number, xmin, ymin, xmax, ymax in pixels."""
    boxes = []
    for number, line in enumerate(_read_text(name).splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            label, left, top, right, bottom = int(words[0]), *map(float, words[1:5])
            if not (-(1 << 31) <= label < 1 << 31 and all(map(_is_float32, (left, top, right, bottom)))):
                raise ValueError
        except ValueError:
            raise AnnotationError(f"{name}:{number}: expected 'label xmin ymin xmax ymax', found {line!r}") from None
        boxes.append(_Box(str(label), (left, top, right, bottom), False))
    return None, boxes


ANNOTATION_KINDS: dict[str, Callable[[str], tuple[tuple[int, int] | None, list[_Box]]]] = {
    "xml": _read_xml,
    "json": _read_json,
    "txt": _read_txt,
}


@dataclass
class CocoPicture:
    """One picture of a COCO file, with its boxes in pixels."""

    path: str
    id: int
    size: tuple[int, int]  # height, width as stated
    boxes: list[_Box] = field(default_factory=list)

    def annotations(self, where: str, size: tuple[int, int], numbers: Mapping[str, int]) -> Annotations:
        """As `read_annotations`; `where` is the file's name for messages, `size` that of the picture."""
        return _annotations(f"{where}: {self.path}", self.size, size, self.boxes, numbers)


@dataclass
class Coco:
    """A COCO instances file.

    Attributes:
        categories: the names of the categories by id, in the order of the ids.
    """

    pictures: list[CocoPicture]
    categories: dict[int, str]


def read_coco(path: str | os.PathLike[str]) -> Coco:
    """Read COCO's instances: pictures in the file's order, each with its boxes, named by the category's id.

    Raises:
        AnnotationError: the file cannot be read or lacks images, annotations or categories.
    """
    pictures, categories = _coco_entries(os.fspath(path))
    return Coco([picture for picture, _ in pictures], categories)


def split_coco(path: str | os.PathLike[str]) -> tuple[dict[str, str], dict[int, str]]:
    """COCO's instances taken apart, as SSD's split_annotation.py does.

    Returns:
        The content of each picture's own file, as `read_annotations` reads it as "json", by the picture's path and in
        the file's order; and the names of the categories by id.

    Raises:
        AnnotationError: as `read_coco`.
    """
    pictures, categories = _coco_entries(os.fspath(path))
    contents = {}
    for picture, entries in pictures:
        image = {"id": picture.id, "file_name": picture.path, "height": picture.size[0], "width": picture.size[1]}
        if not all(picture.size):
            image = {"id": picture.id, "file_name": picture.path}
        kept = [{key: entry[key] for key in _COCO_KEYS if key in entry} for entry in entries]
        contents[picture.path] = json.dumps({"image": image, "annotation": kept})
    return contents, categories


_COCO_KEYS = ("id", "category_id", "bbox", "iscrowd", "area")


def _coco_entries(name: str) -> tuple[list[tuple[CocoPicture, list[Any]]], dict[int, str]]:
    """The pictures of COCO's instances with their annotations as the file has them, and the categories."""
    content = read_json(name, "the annotations", AnnotationError)
    if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= content.keys():
        raise AnnotationError(f'{name}: expected COCO instances, {{"images": [...], "annotations": [...], '
                              f'"categories": [...]}}')  # fmt: skip
    try:
        categories = {int(entry["id"]): str(entry["name"]) for entry in content["categories"]}
        pictures: dict[int, tuple[CocoPicture, list[Any]]] = {}
        for entry in content["images"]:
            size = (int(entry.get("height", 0)), int(entry.get("width", 0)))
            pictures[int(entry["id"])] = CocoPicture(str(entry["file_name"]), int(entry["id"]), size), []
        for entry in content["annotations"]:
            picture, entries = pictures[int(entry["image_id"])]
            picture.boxes.append(_coco_box(entry, str(entry["category_id"])))
            entries.append(entry)
    except _WRONG_FORM as error:
        raise AnnotationError(
            f"{name}: an entry is not as COCO's are ({type(error).__name__}: {brief(error)})"
        ) from None
    if not pictures:
        raise AnnotationError(f"{name} lists no image")
    return list(pictures.values()), dict(sorted(categories.items()))
