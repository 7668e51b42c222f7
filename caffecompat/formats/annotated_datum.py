"""`AnnotatedDatum`, the record of SSD's detection databases, to and from its bytes.

Field numbers (SSD; Jacinto and Xilinx alike): 1 datum, 2 type, 3 annotation_group {1 group_label, 2 annotation
{1 instance_id, 2 bbox {1 xmin, 2 ymin, 3 xmax, 4 ymax, 6 difficult}}}. Xilinx adds 4 label_ori with
bbox 9 angle_cos and 10 angle_sin, and 5 seg_datum; Jacinto's record_id (4, never stored) looks like label_ori.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from caffecompat import wire
from caffecompat.formats.datum import Buffer, Datum, DatumError, decode_datum, encode_datum

__all__ = ["AnnotatedDatum", "decode_annotated_datum", "encode_annotated_datum", "is_annotated_datum", "no_objects"]

BBOX = 0  # the only type there is

_COLUMNS = {1: 2, 2: 3, 3: 4, 4: 5, 6: 6, 9: 7, 10: 8}  # NormalizedBBox's fields -> columns of a row


def no_objects(columns: int = 7) -> np.ndarray:
    """The objects of a picture without any: (0, 7) float32."""
    return np.zeros((0, columns), np.float32)


@dataclass(slots=True)
class AnnotatedDatum:
    """A picture and the boxes of the objects in it.

    Attributes:
        datum: the picture; its label counts where `type` is None (classification).
        objects: (G, 7) float32, a row each: class, instance number within class and picture, xmin, ymin, xmax, ymax
            in units of the picture's width and height, 1 if difficult. With `oriented` (G, 9): cosine and sine besides.
        type: 0 (BBOX), or None where the record says nothing.
        oriented: Xilinx's label_ori.
        segmentation: Xilinx's seg_datum, a label picture.
    """

    datum: Datum
    objects: np.ndarray = field(default_factory=no_objects)
    type: int | None = BBOX
    oriented: bool = False
    segmentation: Datum | None = None


def is_annotated_datum(record: Buffer) -> bool:
    """Whether a record is an AnnotatedDatum rather than a Datum: field 1 is a message there and a number here."""
    return len(record) > 0 and record[0] == (1 << 3 | wire.BYTES)


def decode_annotated_datum(record: Buffer) -> AnnotatedDatum:
    """Read one record; the picture's bytes are a view of it. Unknown fields are passed over.

    Raises:
        DatumError: the bytes are not an AnnotatedDatum (also when cut off, or a plain Datum).
    """
    view = memoryview(record)
    rows: list[list[float]] = []
    result = AnnotatedDatum(Datum(), type=None)
    try:
        for number, kind, value, end in _fields(view, 0, len(view)):
            if number == 1:
                if kind != wire.BYTES:
                    raise DatumError("the record is a plain Datum, which the Data layer reads, not an AnnotatedDatum")
                result.datum = decode_datum(view[value:end])
            elif number == 2 and kind == wire.VARINT:
                result.type = wire.signed(value)
            elif number == 3 and kind == wire.BYTES:
                _read_group(view, value, end, rows)
            elif number == 4 and kind == wire.VARINT:
                result.oriented = value != 0
            elif number == 5 and kind == wire.BYTES:
                result.segmentation = decode_datum(view[value:end])
    except wire.WireError as error:
        raise DatumError(f"the record is not an AnnotatedDatum: {error} (at byte {error.at} of {len(view)})") from None
    objects = np.array(rows, np.float32).reshape(-1, 9)
    result.objects = objects if result.oriented else objects[:, :7]
    return result


def encode_annotated_datum(record: AnnotatedDatum) -> bytes:
    """The record's bytes, field by field in ascending number, as protobuf's C++ writer puts them.

    Objects of one class make one group; groups come in the order of their first objects, as convert_annoset has them.
    """
    parts = [_message(1, encode_datum(record.datum))]
    if record.type is not None:
        parts.append(wire.varint_field(2, record.type))
    groups: dict[int, list[bytes]] = {}
    for row in record.objects.tolist():
        groups.setdefault(int(row[0]), []).append(_message(2, _annotation(row)))
    for label, group in groups.items():
        parts.append(_message(3, wire.varint_field(1, label) + b"".join(group)))
    if record.oriented:
        parts.append(wire.varint_field(4, 1))
    if record.segmentation is not None:
        parts.append(_message(5, encode_datum(record.segmentation)))
    return b"".join(parts)


def _fields(view: memoryview, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    while at < end:
        number, kind, value, at = wire.read_field(view, at, end)
        yield number, kind, value, at


def _read_group(view: memoryview, at: int, end: int, rows: list[list[float]]) -> None:
    label, first = 0, len(rows)
    for number, kind, value, stop in _fields(view, at, end):
        if number == 1 and kind == wire.VARINT:
            label = wire.signed(value)
        elif number == 2 and kind == wire.BYTES:
            rows.append(_read_annotation(view, value, stop))
    for row in rows[first:]:  # the group's label may stand after its objects
        row[0] = label


def _read_annotation(view: memoryview, at: int, end: int) -> list[float]:
    row = [0.0] * 9
    for number, kind, value, stop in _fields(view, at, end):
        if number == 1 and kind == wire.VARINT:
            row[1] = wire.signed(value)
        elif number == 2 and kind == wire.BYTES:
            for inner, inner_kind, inner_value, _ in _fields(view, value, stop):
                column = _COLUMNS.get(inner)
                if column is None:
                    continue
                if inner_kind == wire.FIXED32:
                    (row[column],) = struct.unpack_from("<f", view, inner_value)
                elif inner_kind == wire.VARINT:
                    row[column] = float(inner_value != 0)
    return row


def _annotation(row: list[float]) -> bytes:
    box = [wire.float_field(number, row[number + 1]) for number in (1, 2, 3, 4)]
    box.append(wire.varint_field(6, int(row[6])))
    if len(row) > 7:
        box += [wire.float_field(9, row[7]), wire.float_field(10, row[8])]
        box.append(wire.varint_field(11, 1))
    return wire.varint_field(1, int(row[1])) + _message(2, b"".join(box))


def _message(number: int, payload: bytes) -> bytes:
    return wire.bytes_header(number, len(payload)) + payload
