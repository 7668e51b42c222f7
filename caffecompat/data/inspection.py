"""What is in a database of Datums, and whether all of it is sound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from caffecompat.data.parallel import chunks, ordered_map
from caffecompat.formats.annotated_datum import decode_annotated_datum, is_annotated_datum
from caffecompat.formats.database import DatabaseError, DatabaseReader, key_text
from caffecompat.formats.datum import Datum, DatumError, decode_datum
from caffecompat.formats.picture_header import is_cut_off, picture_header

__all__ = [
    "Checks",
    "DatabaseInfo",
    "RecordProblem",
    "datum_kind",
    "datum_shape",
    "inspect_records",
    "read_record",
    "verify_keys",
    "verify_records",
]

Record = tuple[bytes, bytes]
_SLACK = 1e-3  # of the picture's size: boxes are rounded
Shape = tuple[int, int, int]


@dataclass
class DatabaseInfo:
    """What a database holds; the counters cover the records looked at.

    Attributes:
        records: in the whole database. `looked_at`: of these counted below.
        kinds: "raw", "float", "png", "jpg", ... -> how many.
        shapes: (C, H, W) -> how many.
        labels: Datum.label -> how many records; or, of label pictures, class -> how many pixels; or, of annotated
            records, class -> how many boxes.
        label_pixels: whether pixels are counted.
        annotated: records that may have boxes. `boxed`: those that have. `boxes`: all boxes. `difficult`: those marked.
        damaged: keys of records that cannot be read.
    """

    path: str
    backend: str
    records: int
    disk_bytes: int
    looked_at: int = 0
    value_bytes: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    shapes: Counter[Shape] = field(default_factory=Counter)
    labels: Counter[int] = field(default_factory=Counter)
    label_pixels: bool = False
    annotated: int = 0
    boxed: int = 0
    boxes: int = 0
    difficult: int = 0
    damaged: list[str] = field(default_factory=list)
    first_key: str = ""
    last_key: str = ""

    def as_json(self) -> dict[str, object]:
        """Plain dictionaries and lists; shapes are written 3x256x256."""
        shapes = {"x".join(map(str, shape)): count for shape, count in self.shapes.most_common()}
        labels = {str(label): self.labels[label] for label in sorted(self.labels)}
        return {**vars(self), "kinds": dict(self.kinds), "shapes": shapes, "labels": labels}


def read_record(value: bytes) -> tuple[Datum, np.ndarray | None]:
    """A record of either kind: its picture, and the objects (G, 7) where it is one with boxes.

    Raises:
        DatumError: it is neither.
    """
    if not is_annotated_datum(value):
        return decode_datum(value), None
    record = decode_annotated_datum(value)
    return record.datum, None if record.type is None else record.objects


def datum_kind(datum: Datum) -> str:
    """ "raw", "float", or the kind of file that an encoded record holds."""
    if datum.encoded:
        return picture_header(datum.data or b"")[0]
    return "raw" if datum.data is not None and len(datum.data) else "float"


def datum_shape(datum: Datum) -> Shape:
    """(C, H, W), of encoded records from the file's header where that says it."""
    if not datum.encoded:
        return datum.shape
    shape = picture_header(datum.data or b"")[1]
    if shape is None:
        height, width, channels = datum.image().shape
        shape = (channels, height, width)
    return shape


def inspect_records(
    database: DatabaseReader,
    *,
    limit: int = 0,
    label_pixels: bool = False,
    on_progress: Callable[[int], None] = lambda done: None,
) -> DatabaseInfo:
    """Count what the records (the first `limit` of them; 0: all) hold, without decoding PNG and JPEG pictures.

    Args:
        label_pixels: the pictures' pixels are class numbers; count these (which decodes them).
    """
    files = [file for folder in database.folders for file in Path(folder).iterdir()]
    size = sum(file.stat().st_size for file in files if file.is_file())
    info = DatabaseInfo(database.path, database.backend, len(database), size, label_pixels=label_pixels)

    def look(records: Sequence[Record]) -> list[_Look]:
        return [_look(key, value, label_pixels) for key, value in records]

    for batch in ordered_map(look, _limited(_all_records(database), limit), threads=0 if label_pixels else 1):
        for one in batch:
            _count(info, one)
        on_progress(info.looked_at)
    return info


class _Look(NamedTuple):
    """What one record shows; `kind` is None when it cannot be read."""

    key: bytes
    size: int
    kind: str | None
    shape: Shape
    labels: Counter[int]
    objects: np.ndarray | None = None


def _look(key: bytes, value: bytes, label_pixels: bool) -> _Look:
    try:
        datum, objects = read_record(value)
        labels = Counter({datum.label or 0: 1})
        if objects is not None:
            labels = Counter(objects[:, 0].astype(int).tolist())
            return _Look(key, len(value), datum_kind(datum), datum_shape(datum), labels, objects)
        if label_pixels:
            numbers, counts = np.unique(datum.image(), return_counts=True)
            labels = Counter(dict(zip(numbers.tolist(), counts.tolist(), strict=True)))
        return _Look(key, len(value), datum_kind(datum), datum_shape(datum), labels)
    except DatumError:
        return _Look(key, len(value), None, (0, 0, 0), Counter())


def _all_records(database: DatabaseReader) -> Iterator[list[Record]]:
    """The records in lists; an error where there are more or less than the database counts."""
    found = 0
    for batch in chunks(database.cursor()):
        found += len(batch)
        yield batch
    database.check_count(found)


def _limited(batches: Iterable[list[Record]], limit: int) -> Iterator[list[Record]]:
    left = limit
    for batch in batches:
        yield batch[:left] if limit else batch
        left -= len(batch)
        if limit and left <= 0:
            return


def _count(info: DatabaseInfo, one: _Look) -> None:
    info.last_key = key_text(one.key)
    info.first_key = info.first_key or info.last_key
    info.looked_at += 1
    info.value_bytes += one.size
    if one.kind is None:
        info.damaged.append(info.last_key)
        return
    info.kinds[one.kind] += 1
    info.shapes[one.shape] += 1
    info.labels.update(one.labels)
    if one.objects is not None:
        info.annotated += 1
        info.boxed += len(one.objects) > 0
        info.boxes += len(one.objects)
        info.difficult += int((one.objects[:, 6] != 0).sum())


class RecordProblem(NamedTuple):
    """What is wrong with one record.

    Attributes:
        key: of the record, as text.
        kind: of the problem, in words that a count goes before: "unreadable", "of another size", ...
        text: what was found and what was expected.
    """

    key: str
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.key}: {self.text}"


@dataclass(frozen=True)
class Checks:
    """What `verify_records` demands in addition to that every record decodes.

    Attributes:
        one_size: all records have the first one's shape; not asked of those with boxes.
        classes: labels are below this; 0 asks nothing.
        label_pixels: the pixels are class numbers: they, not Datum.label, must be below `classes`, or `ignore_label`.
    """

    one_size: bool = True
    classes: int = 0
    label_pixels: bool = False
    ignore_label: int = 255


def verify_records(
    database: DatabaseReader,
    checks: Checks,
    *,
    threads: int = 0,
    on_progress: Callable[[int], None] = lambda done: None,
) -> list[RecordProblem]:
    """Decode every record; returns what is wrong, at most one problem a record, [] when all is well.

    Raises:
        DatabaseError: the database itself is damaged, so that its records cannot be read, or holds none.
    """
    found: list[RecordProblem] = []
    expected: Shape | None = None
    done = 0
    for batch in ordered_map(lambda records: [_examine(*r, checks) for r in records], _all_records(database), threads):
        for key, shape, problem in batch:
            expected = expected or shape
            if problem is None and checks.one_size and shape is not None and shape != expected:
                text = f"is {_size(shape)}, the first record is {_size(expected)} (channels x height x width)"
                problem = RecordProblem(key_text(key), "of another size", text)
            if problem is not None:
                found.append(problem)
        done += len(batch)
        on_progress(done)
    if not done:  # which is all that a LevelDB shows of a lost log
        raise DatabaseError(f"{database.path} holds no records")
    return found


def _examine(key: bytes, value: bytes, checks: Checks) -> tuple[bytes, Shape | None, RecordProblem | None]:
    try:
        datum, objects = read_record(value)
        if datum.encoded and is_cut_off(bytes(datum.data or b"")):
            raise DatumError(f"the encoded picture is cut off after {len(datum.data or b'')} bytes")
        pixels = datum.image()
        if not pixels.size:
            raise DatumError("the record holds no values")
    except DatumError as error:
        return key, None, RecordProblem(key_text(key), "unreadable", str(error))
    height, width, channels = pixels.shape
    if objects is not None:
        kind, shape, text = "with a wrong box", None, _box_problem(objects, checks)
    else:
        kind, shape = "with a wrong label", (channels, height, width)
        text = _label_problem(datum, pixels, checks)
    return key, shape, None if text is None else RecordProblem(key_text(key), kind, text)


def _box_problem(objects: np.ndarray, checks: Checks) -> str | None:
    """What is wrong with the first bad box: outside the picture, turned inside out, or of a class there is not."""
    for label, _, left, top, right, bottom, *_ in objects.tolist():
        box = f"has a box of class {label:.0f} at ({left:.4g}, {top:.4g}, {right:.4g}, {bottom:.4g})"
        if not (left < right and top < bottom):
            return f"{box}, which has no area"
        if min(left, top) < -_SLACK or max(right, bottom) > 1 + _SLACK:
            return f"{box}, which leaves the picture"
        if checks.classes and not 0 < label < checks.classes:
            return f"{box}; expected classes 1 to {checks.classes - 1}"
    return None


def _label_problem(datum: Datum, pixels: np.ndarray, checks: Checks) -> str | None:
    if not checks.classes:
        return None
    if not checks.label_pixels:
        label = datum.label or 0
        return None if 0 <= label < checks.classes else f"has label {label}; expected 0 to {checks.classes - 1}"
    if pixels.shape[2] != 1:
        return f"has {pixels.shape[2]} channels; a label picture has one"
    wrong = np.setdiff1d(pixels[(pixels >= checks.classes) & (pixels != checks.ignore_label)], [])
    if not wrong.size:
        return None
    values = ", ".join(map(str, islice(wrong.tolist(), 5)))
    return f"has pixels of class {values}; expected 0 to {checks.classes - 1} or {checks.ignore_label} (ignored)"


def verify_keys(databases: Sequence[DatabaseReader]) -> list[str]:
    """Where two databases that belong together differ in their keys: the first place, [] when nowhere."""
    for number, keys in enumerate(zip(*(database.keys() for database in databases), strict=False)):
        if len(set(keys)) > 1:
            names = " and ".join(f"{key_text(key)} in {db.path}" for key, db in zip(keys, databases, strict=True))
            return [f"record {number} has different keys: {names}"]
    return []


def _size(shape: Shape | None) -> str:
    return "x".join(map(str, shape or ()))
