"""Pictures with the objects in them, to score detectors on: lists, Pascal VOC folders, COCO files, databases."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from caffecompat.data.annotated_recipes import DetectionSet, coco_set, is_voc_folder, listed_set, voc_set
from caffecompat.data.dataset import class_file
from caffecompat.data.inspection import datum_shape
from caffecompat.errors import CaffeCompatError
from caffecompat.files import read_bytes
from caffecompat.formats.annotated_datum import decode_annotated_datum, is_annotated_datum
from caffecompat.formats.annotations import read_coco
from caffecompat.formats.database import open_database
from caffecompat.formats.label_map import LabelMap, parse_label_map, read_class_numbers, read_label_map
from caffecompat.formats.picture import PictureError, decode_picture
from caffecompat.formats.picture_header import is_cut_off, picture_header

__all__ = ["DetectionSetError", "LabeledPicture", "LabeledPictures", "open_detection_set"]


class DetectionSetError(CaffeCompatError):
    """Pictures or annotations that cannot be read, or are none."""


@dataclass(frozen=True)
class LabeledPicture:
    """What is known of a picture.

    Attributes:
        name: as messages and results call it.
        size: (height, width).
        objects: (G, 7), rows [class, instance, xmin, ymin, xmax, ymax, difficult] in units of the picture.
        picture: (H, W, C) uint8, where it was asked for.
    """

    name: str
    size: tuple[int, int]
    objects: np.ndarray
    picture: np.ndarray | None = None


@dataclass
class LabeledPictures(ABC):
    """A detection data set.

    Attributes:
        label_map: its classes; empty where the source has no names.
    """

    label_map: LabelMap = field(default_factory=LabelMap)

    @abstractmethod
    def __len__(self) -> int:
        """How many pictures there are."""

    @abstractmethod
    def load(self, index: int, *, picture: bool = True, color: bool = True) -> LabeledPicture:
        """One picture; may be called from several threads.

        Args:
            picture: whether the pixels are needed.

        Raises:
            CaffeCompatError: it cannot be read.
        """

    @abstractmethod
    def names(self, index: int) -> Iterator[str]:
        """What files of results may call the picture."""


def open_detection_set(
    *, source: str = "", database: str = "", root: str = "", which: str = "test", label_map: str = ""
) -> LabeledPictures:
    """Open a data set.

    Args:
        source: a list of 'picture annotation-file' lines, a Pascal VOC folder, or COCO's instances (.json); or
        database: LMDB or LevelDB of AnnotatedDatums.
        root: where the pictures of a list or of COCO lie.
        which: the list of a VOC folder, ImageSets/Main/<which>.txt.
        label_map: file that gives the annotations' classes their numbers; without, a database's own labelmap.prototxt,
            or numbers from 1 in the order of the alphabet (COCO: of the category ids).

    Raises:
        CaffeCompatError: there is no such set.
    """
    if database:
        return _Database(database, label_map)
    numbers = read_class_numbers(label_map) if label_map else None
    text = Path(label_map).read_text(encoding="utf-8") if label_map else ""
    if os.path.isdir(source):
        if not is_voc_folder(source):
            raise DetectionSetError(f"the folder {source} is not Pascal VOC's: no Annotations and JPEGImages in it")
        return _Listed(voc_set(source, which, numbers, text))
    if source.endswith(".json"):
        return _Coco(source, coco_set(source, root or os.path.dirname(source), numbers, text))
    return _Listed(listed_set(source, root, numbers, text))


class _Listed(LabeledPictures):
    """Picture files and annotation files."""

    def __init__(self, files: DetectionSet) -> None:
        super().__init__(parse_label_map(files.label_map, unique=False) if files.label_map else LabelMap())
        self._files = files

    def __len__(self) -> int:
        return len(self._files.paths)

    def _path(self, index: int) -> str:
        return os.path.join(self._files.folder, self._files.paths[index])

    def names(self, index: int) -> Iterator[str]:
        path = self._files.paths[index]
        yield from (Path(path).stem, path, str(Path(path).with_suffix("")))

    def load(self, index: int, *, picture: bool = True, color: bool = True) -> LabeledPicture:
        path = self._path(index)
        pixels = None
        if picture:
            pixels = _decode(path, color)
            size = pixels.shape[0], pixels.shape[1]
        else:
            size = self._size(index)
        name = next(self.names(index))
        return LabeledPicture(name, size, self._files.objects(index, size).objects, pixels)

    def _size(self, index: int) -> tuple[int, int]:
        """(height, width) from the picture's first bytes, where its kind has it there."""
        path = self._path(index)
        shape = picture_header(read_bytes(path, DetectionSetError))[1]
        if shape is None:
            shape = (0, *_decode(path, True).shape[:2])
        return shape[1], shape[2]


class _Coco(_Listed):
    """COCO's file says how large the pictures are and calls them by number."""

    def __init__(self, path: str, files: DetectionSet) -> None:
        super().__init__(files)
        self._pictures = read_coco(path).pictures

    def names(self, index: int) -> Iterator[str]:
        yield str(self._pictures[index].id)
        yield from super().names(index)

    def _size(self, index: int) -> tuple[int, int]:
        stated = self._pictures[index].size
        return stated if all(stated) else super()._size(index)


# convert_annoset and 'lmdb build' begin keys with a count of eight digits; before it may be a database's number.
_COUNT = re.compile(r"^(\d{5}/)?\d{8}_")


class _Database(LabeledPictures):
    """AnnotatedDatums."""

    def __init__(self, path: str, label_map: str) -> None:
        chosen = label_map or class_file(path, "labelmap.prototxt") or ""
        super().__init__(read_label_map(chosen) if chosen else LabelMap())
        self._database = open_database(path)
        self._keys = list(self._database.keys())
        if not self._keys:
            raise DetectionSetError(f"{path} has no records")

    def __len__(self) -> int:
        return len(self._keys)

    def names(self, index: int) -> Iterator[str]:
        key = self._keys[index].decode("utf-8", "replace")
        path = _COUNT.sub("", key)
        yield from (Path(path).stem, path, str(Path(path).with_suffix("")), key)

    def load(self, index: int, *, picture: bool = True, color: bool = True) -> LabeledPicture:
        record = self._database.get(self._keys[index]) or b""
        name = next(self.names(index))
        if not is_annotated_datum(record):
            raise DetectionSetError(f"{self._database.path}, record {name}: no boxes; it is a plain Datum")
        made = decode_annotated_datum(record)
        pixels = made.datum.image(color) if picture else None
        _, height, width = datum_shape(made.datum) if pixels is None else (0, *pixels.shape[:2])
        return LabeledPicture(name, (height, width), made.objects[:, :7], pixels)


def _decode(path: str, color: bool) -> np.ndarray:
    file = read_bytes(path, DetectionSetError)
    try:
        picture = decode_picture(file, color)
    except PictureError as problem:
        raise DetectionSetError(f"{path}: {problem}") from None
    if picture is None or is_cut_off(file):
        raise DetectionSetError(f"{path} is not a picture, or cut off ({len(file)} bytes)")
    return picture
