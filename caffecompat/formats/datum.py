"""`Datum`, the record of Caffe's image databases, to and from its bytes.

Written by hand rather than through the protobuf schema: a record is read in a
few microseconds, the pixels stay a view of the record, and forks that reuse a
field number (Jacinto's `record_id` is 8) do no harm. Field numbers (BVLC):
1 channels, 2 height, 3 width, 4 data, 5 label, 6 float_data, 7 encoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from caffecompat import wire
from caffecompat.errors import CaffeCompatError

if TYPE_CHECKING:
    from caffecompat.formats.picture import Rows

__all__ = ["Datum", "DatumError", "decode_datum", "encode_datum"]

Buffer = bytes | bytearray | memoryview

_FLOAT_TAG = 6 << 3 | wire.FIXED32


class DatumError(CaffeCompatError):
    """A record that is not a Datum, or whose picture cannot be read."""


@dataclass(slots=True)
class Datum:
    """One record; ``None`` means that the field is not in it.

    A raw picture is `data`, channels*height*width bytes in (C, H, W) order, BGR;
    features are `float_data` in the same order; with `encoded` set, `data` is a
    JPEG, PNG, ... file and the three sizes are usually absent.
    """

    channels: int | None = None
    height: int | None = None
    width: int | None = None
    data: Buffer | None = None
    label: int | None = None
    float_data: np.ndarray | None = None
    encoded: bool | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) as the record states it; zeros where it says nothing."""
        return (self.channels or 0, self.height or 0, self.width or 0)

    def array(self) -> np.ndarray:
        """The values of a record that is not encoded: (C, H, W), uint8 or float32, a view of the record.

        `data` is used where the record has both, as in Caffe's transformer.

        Raises:
            DatumError: the record is encoded, or its size is not C*H*W.
        """
        if self.encoded:
            raise DatumError("the record holds an encoded picture: image() decodes it")
        if self.data is not None and len(self.data):
            values = np.frombuffer(self.data, np.uint8)
        elif self.float_data is not None:
            values = self.float_data
        else:
            values = np.empty(0, np.uint8)
        channels, height, width = self.shape
        if values.size != channels * height * width:
            raise DatumError(
                f"the record says {channels}x{height}x{width} (channels x height x width), "
                f"which needs {channels * height * width} values, and holds {values.size}"
            )
        return values.reshape(channels, height, width)

    def image(self, color: bool | None = None) -> np.ndarray:
        """The picture as OpenCV has it: (H, W, C) uint8, BGR or one channel.

        Args:
            color: for encoded pictures: True forces three channels, False one, None keeps what
                the file has, without alpha (Caffe: force_color, force_gray, neither).

        Raises:
            DatumError: the encoded bytes cannot be decoded or state too many pixels, or a raw record is inconsistent.
        """
        return self.rows(color)[0]

    def rows(self, color: bool | None = None, wanted: Rows | None = None) -> tuple[np.ndarray, int]:
        """The picture as `image` gives it, but for rows at the bottom that are not wanted; and its whole height."""
        if not self.encoded:
            pixels: np.ndarray = self.array().transpose(1, 2, 0)
            return pixels, pixels.shape[0]
        from caffecompat.formats.picture import PictureError, decode_rows

        try:
            found = decode_rows(self.data or b"", color, wanted)
        except PictureError as problem:
            raise DatumError(str(problem)) from None
        if found is None:
            raise DatumError(f"the encoded picture ({len(self.data or b'')} bytes) cannot be decoded")
        return found

    @classmethod
    def from_array(cls, values: np.ndarray, label: int = 0) -> Datum:
        """A record of (C, H, W) values: uint8 as `data`, anything else as `float_data` (pycaffe's array_to_datum)."""
        if values.ndim != 3:
            raise DatumError(f"a Datum holds three dimensions (channels, height, width), not {values.shape}")
        channels, height, width = values.shape
        record = cls(channels, height, width, label=label)
        if values.dtype == np.uint8:
            record.data = np.ascontiguousarray(values).tobytes()
        else:
            record.float_data = np.ascontiguousarray(values, np.float32).reshape(-1)
        return record


def decode_datum(record: Buffer) -> Datum:
    """Read one record; `data` is a memoryview into it.

    Fields may come in any order, the last of a field wins, `float_data` may be packed or not,
    unknown fields are passed over.

    Raises:
        DatumError: the bytes are not a Datum message (also when cut off).
    """
    view = memoryview(record)
    datum = Datum()
    floats: list[np.ndarray] = []
    at, end = 0, len(view)
    try:
        while at < end:
            begin = at
            number, kind, value, at = wire.read_field(view, at, end)
            if kind == wire.VARINT:
                _set_number(datum, number, value)
            elif kind == wire.BYTES:
                if number == 1:
                    raise DatumError("the record is an AnnotatedDatum (SSD), which the AnnotatedData layer reads")
                if number == 4:
                    datum.data = view[value:at]
                elif number == 6:
                    if (at - value) % 4:
                        raise wire.WireError("float_data is not a whole number of floats", value)
                    floats.append(np.frombuffer(view[value:at], "<f4"))
            elif kind == wire.FIXED32 and number == 6:
                values = _float_run(view, begin)
                if len(values):
                    at = begin + 5 * len(values)
                else:  # a tag of more bytes than it needs
                    values = np.frombuffer(view[value:at], "<f4")
                floats.append(values)
    except wire.WireError as error:
        raise DatumError(f"the record is not a Datum: {error} (at byte {error.at} of {end})") from None
    if floats:
        datum.float_data = floats[0] if len(floats) == 1 else np.concatenate(floats)
    return datum


def encode_datum(datum: Datum) -> bytes:
    """The record's bytes, field by field in ascending number, as protobuf's C++ writer puts them."""
    parts: list[Buffer] = []
    for number, value in ((1, datum.channels), (2, datum.height), (3, datum.width)):
        if value is not None:
            parts.append(wire.varint_field(number, value))
    if datum.data is not None:
        parts += [wire.bytes_header(4, len(datum.data)), datum.data]
    if datum.label is not None:
        parts.append(wire.varint_field(5, datum.label))
    if datum.float_data is not None:
        parts.append(_unpacked_floats(datum.float_data))
    if datum.encoded is not None:
        parts.append(wire.varint_field(7, datum.encoded))
    return b"".join(parts)


def _set_number(datum: Datum, number: int, value: int) -> None:
    if number == 7:
        datum.encoded = value != 0
        return
    value &= 0xFFFFFFFF  # int32 is sign-extended to 64 bits on the wire
    value -= (value & 0x80000000) << 1
    if number == 1:
        datum.channels = value
    elif number == 2:
        datum.height = value
    elif number == 3:
        datum.width = value
    elif number == 5:
        datum.label = value


def _float_run(view: memoryview, begin: int) -> np.ndarray:
    """The run of 5-byte (tag, float) pairs of float_data that begins at `begin`, in one go."""
    pairs = np.frombuffer(view[begin : begin + (len(view) - begin) // 5 * 5], np.uint8).reshape(-1, 5)
    others = np.flatnonzero(pairs[:, 0] != _FLOAT_TAG)
    count = int(others[0]) if len(others) else len(pairs)
    return np.ascontiguousarray(pairs[:count, 1:]).view("<f4").reshape(-1)


def _unpacked_floats(values: np.ndarray) -> bytes:
    """Caffe's schema does not pack float_data: each value carries its tag."""
    floats = np.ascontiguousarray(values, "<f4").reshape(-1, 1)
    pairs = np.empty((len(floats), 5), np.uint8)
    pairs[:, 0] = _FLOAT_TAG
    pairs[:, 1:] = floats.view(np.uint8)
    return pairs.tobytes()
