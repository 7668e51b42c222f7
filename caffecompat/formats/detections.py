"""Files of detection results: VOC's (a text file a class), COCO's (one JSON), ILSVRC's (one text file).

As SSD's DetectionOutput writes them; boxes are in pixels of the original pictures, whose names and sizes are in a
name-size file: lines ``name height width``.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from caffecompat.errors import CaffeCompatError
from caffecompat.files import read_json, read_text
from caffecompat.formats.atomic import atomic_write
from caffecompat.formats.label_map import LabelMap, read_label_map
from caffecompat.paths import find_file, is_file_name

__all__ = [
    "FORMATS",
    "Detection",
    "DetectionFileError",
    "ResultWriter",
    "read_detections",
    "read_name_sizes",
    "write_detections",
]

FORMATS = ("VOC", "COCO", "ILSVRC")


class DetectionFileError(CaffeCompatError):
    """A result file or a name-size file that cannot be read, or settings that name no such file."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One box: picture, class (a name, or a number as text), score, corners in pixels."""

    image: str
    label: str
    score: float
    box: tuple[float, float, float, float]


def read_name_sizes(path: str, relative_to: str | None = None) -> list[tuple[str, int, int]]:
    """The lines ``name height width`` of a file.

    Args:
        relative_to: prototxt next to which the file may lie.

    Raises:
        DetectionFileError: the file cannot be read, is empty, or a line has another form.
    """
    entries = []
    found = find_file(path, relative_to, DetectionFileError, field="name_size_file")
    for number, line in _lines(found, "the name-size file"):
        words = line.rsplit(None, 2)
        if len(words) != 3 or not all(re.fullmatch("[0-9]{1,9}", word) for word in words[1:]):
            raise DetectionFileError(f"{path}:{number}: expected 'name height width', found {line!r}")
        entries.append((words[0], int(words[1]), int(words[2])))
    if not entries:
        raise DetectionFileError(f"{path} is empty; expected lines 'name height width'")
    return entries


def write_detections(
    directory: str, prefix: str, form: str, found: Sequence[Detection], numbers: dict[str, int], background: int = 0
) -> list[str]:
    """Write results in one of the FORMATS, as SSD does: coordinates rounded to 2 decimals; in texts cut to integers.

    Args:
        found: labels are names of `numbers`.
        numbers: number of each class; VOC has a file for each but the background.

    Returns:
        The paths written: ``DIRECTORY/PREFIX<class>.txt`` for VOC, ``DIRECTORY/PREFIX.json`` for COCO and
        ``DIRECTORY/PREFIX.txt`` for ILSVRC.

    Raises:
        DetectionFileError: the prefix, or a class of the VOC form, has a name that no file can have; nothing is
            written.
    """
    files: dict[str, str] = {}
    if form == "COCO":
        files[f"{prefix}.json"] = _coco(found)
    elif form == "ILSVRC":
        files[f"{prefix}.txt"] = "".join(f"{d.image} {numbers[d.label]} {_tail(d)}\n" for d in found)
    else:
        lines: dict[str, list[str]] = {name: [] for name, number in numbers.items() if number != background}
        for detection in found:
            lines[detection.label].append(f"{detection.image} {_tail(detection)}\n")
        files = {f"{prefix}{name}.txt": "".join(own) for name, own in lines.items()}
    for name in files:
        _check_file_name(name)
    paths = []
    for name, text in files.items():
        path = os.path.join(directory, name)
        with atomic_write(path) as file:
            file.write(text.encode())
        paths.append(path)
    return paths


def _check_file_name(name: str) -> None:
    """Names come out of label maps and prototxts: they must stay in their folder."""
    if not is_file_name(name):
        raise DetectionFileError(f"{name!r} is no file name; rename that class, or change output_name_prefix")


def _extent(box: Sequence[float]) -> list[float]:
    """[x, y, width, height] rounded to 2 decimals, halves away from zero."""
    values = (box[0], box[1], box[2] - box[0], box[3] - box[1])
    return [math.copysign(math.floor(abs(value) * 100 + 0.5) / 100, value) for value in values]


def _tail(detection: Detection) -> str:
    x, y, width, height = (int(value) for value in _extent(detection.box))
    return f"{detection.score:.6g} {x} {y} {x + width} {y + height}"


def _coco(found: Sequence[Detection]) -> str:
    rows = (
        json.dumps(
            {
                "image_id": _number(d.image),
                "category_id": _number(d.label),
                "bbox": _extent(d.box),
                "score": float(f"{d.score:.9g}"),
            }
        )
        for d in found
    )
    return "[\n" + ",\n".join(rows) + "\n]\n"


def _number(text: str) -> int | str:
    """COCO's ids are integers; names that are digits become them, as in SSD's files."""
    return int(text) if re.fullmatch("-?[0-9]{1,18}", text) else text


class ResultWriter:
    """What DetectionOutput's save_output_param asks for: collects boxes, and writes after the last picture.

    Raises:
        DetectionFileError: the settings or the files they name cannot be used.
    """

    def __init__(
        self,
        directory: str,
        prefix: str,
        form: str,
        label_map: str,
        name_sizes: str,
        *,
        count: int | None = None,
        background: int = 0,
        relative_to: str | None = None,
    ) -> None:
        if form not in FORMATS:
            raise DetectionFileError(f"output_format {form!r}: expected {', '.join(FORMATS)}")
        self.directory, self.prefix, self.form, self.background = directory, prefix, form, background
        self.classes: LabelMap = read_label_map(
            find_file(label_map, relative_to, DetectionFileError, field="label_map_file")
        )
        self.entries = read_name_sizes(name_sizes, relative_to)
        self.count = len(self.entries) if count is None else count
        if not 0 < self.count <= len(self.entries):
            raise DetectionFileError(f"num_test_image {self.count}: {name_sizes} has {len(self.entries)} pictures")
        for name in self.classes.labels if form == "VOC" else [""]:  # now, not when the last picture is through
            _check_file_name(f"{prefix}{name}.txt")
        self._at = 0
        self._found: list[Detection] = []

    def next_size(self) -> tuple[int, int]:
        """(height, width) of the picture whose boxes come next."""
        _, height, width = self.entries[self._at]
        return height, width

    def add(self, labels: Iterable[int], scores: np.ndarray, corners: np.ndarray) -> None:
        """The boxes of the next picture, corners (K, 4) in pixels; with the last picture's, the files are written."""
        image = self.entries[self._at][0]
        for label, score, box in zip(labels, scores.tolist(), corners.tolist(), strict=True):
            if label not in self.classes.names:
                raise DetectionFileError(f"the label map has no class {label}, which the net has found")
            self._found.append(Detection(image, self.classes.names[label], score, tuple(box)))
        self._at += 1
        if self._at == self.count:
            try:
                os.makedirs(self.directory, exist_ok=True)
            except OSError as error:
                raise DetectionFileError(f"cannot make the folder {self.directory}: {error.strerror}") from None
            write_detections(self.directory, self.prefix, self.form, self._found, self.classes.labels, self.background)
            self._at, self._found = 0, []


def read_detections(path: str, form: str | None = None) -> list[Detection]:
    """Read a result file, or a folder of VOC files.

    Args:
        path: ``.json`` (COCO); ``.txt`` (ILSVRC, or VOC's of one class); a folder of VOC's ``<prefix><class>.txt``.
        form: one of the FORMATS; None is judged by the path and the columns.

    Returns:
        Detections whose labels are: in VOC files the file's name without ``.txt`` (the caller takes the prefix off),
        in the others the category as text.

    Raises:
        DetectionFileError: nothing there can be read as results.
    """
    if os.path.isdir(path):
        files = sorted(Path(path).glob("*.txt"))
        if not files:
            raise DetectionFileError(f"the folder {path} holds no .txt files of VOC results")
        return [detection for file in files for detection in _read_text(str(file), "VOC")]
    if form == "COCO" or (form is None and path.endswith(".json")):
        return _read_coco(path)
    return _read_text(path, form)


def _read_coco(path: str) -> list[Detection]:
    rows = read_json(path, "the results", DetectionFileError)
    if not isinstance(rows, list):
        raise DetectionFileError(f"{path}: expected a list of detections (COCO's result format)")
    found = []
    for index, row in enumerate(rows):
        try:
            x, y, width, height = map(float, row["bbox"])
            score, box = float(row["score"]), (x, y, x + width, y + height)
            names = str(row["image_id"]), str(row["category_id"])
        except (ArithmeticError, KeyError, TypeError, ValueError):
            raise DetectionFileError(
                f"{path}: entry {index} lacks image_id, category_id, score or bbox [x, y, width, height]"
            ) from None
        if not all(map(math.isfinite, (score, *box))):
            raise DetectionFileError(f"{path}: entry {index} has a score or box that is not a finite number")
        found.append(Detection(*names, score, box))
    return found


def _read_text(path: str, form: str | None) -> list[Detection]:
    """Lines ``name [class] score x1 y1 x2 y2``."""
    found = []
    for number, line in _lines(path, "the results"):
        words = line.split()
        columns = {"VOC": 6, "ILSVRC": 7}.get(form or "", len(words))
        if len(words) != columns or columns not in (6, 7):
            raise DetectionFileError(
                f"{path}:{number}: expected 'name score x1 y1 x2 y2' (VOC) or 'name class score x1 y1 x2 y2' (ILSVRC)"
            )
        label = words[1] if columns == 7 else Path(path).stem
        try:
            score, *box = map(float, words[-5:])
            if not all(map(math.isfinite, (score, *box))):
                raise ValueError
        except ValueError:
            raise DetectionFileError(f"{path}:{number}: not a number in {line!r}") from None
        found.append(Detection(words[0], label, score, (box[0], box[1], box[2], box[3])))
    return found


def _lines(path: str, what: str) -> list[tuple[int, str]]:
    lines = read_text(path, what, DetectionFileError).split("\n")
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
