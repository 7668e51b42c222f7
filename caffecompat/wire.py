"""The protobuf wire format, as much of it as weights need.

A message is a run of fields: a varint ``number << 3 | wire type``, then a varint
(type 0), eight bytes (1), a length and that many bytes (2) or four bytes (5).
Types 3 and 4 bracket groups, which Caffe never wrote but which are passed over.
The rules are those of protobuf's "Encoding" document.

Reading works on offsets into one buffer (a mapped file), so nothing is copied.
"""

from __future__ import annotations

import mmap
import struct

__all__ = [
    "BYTES",
    "FIXED32",
    "FIXED64",
    "VARINT",
    "Buffer",
    "Overrun",
    "WireError",
    "bytes_header",
    "float_field",
    "read_field",
    "read_varint",
    "read_varints",
    "signed",
    "string_field",
    "varint",
    "varint_field",
]

Buffer = bytes | memoryview | mmap.mmap

VARINT, FIXED64, BYTES, _GROUP, _END_GROUP, FIXED32 = range(6)
_DEEPEST_GROUP = 100


class WireError(ValueError):
    """The bytes break the wire format; `at` is the offset where."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.at = at


class Overrun(WireError):
    """Field `number` (0: not known) is longer than what holds it: `size` bytes from `at` on, of which `left` exist."""

    def __init__(self, at: int, size: int, left: int, number: int = 0) -> None:
        super().__init__(f"a field of {size} bytes has only {left} left", at)
        self.size = size
        self.left = left
        self.number = number


def read_varint(data: Buffer, at: int, end: int) -> tuple[int, int]:
    """(value, offset after it) of the varint at `at`; the value is unsigned, of 64 bits."""
    value = shift = 0
    begin = at
    while at < end:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift > 63:
            raise WireError("a number of more than ten bytes", begin)
    raise Overrun(begin, at - begin + 1, at - begin)


def read_field(data: Buffer, at: int, end: int) -> tuple[int, int, int, int]:
    """The field at `at`: (number, wire type, value, offset after it).

    `value` is the number itself for a varint and the offset of the payload otherwise.

    Raises:
        Overrun: the field runs past `end`.
        WireError: it is no field at all.
    """
    begin = at
    tag = data[at]
    at += 1
    if tag > 0x7F:
        tag, at = read_varint(data, begin, end)
    number, wire = tag >> 3, tag & 7
    if not 0 < number < 1 << 29:
        raise WireError(f"field number {number} does not exist", begin)
    if wire == VARINT:
        value, stop = read_varint(data, at, end)
        return number, wire, value, stop
    if wire == BYTES:
        size, at = read_varint(data, at, end)
    elif wire == FIXED32:
        size = 4
    elif wire == FIXED64:
        size = 8
    elif wire == _GROUP:
        return number, wire, at, _skip_group(data, at, end, number)
    else:
        raise WireError(f"wire type {wire} has no place here", begin)
    if size > end - at:
        raise Overrun(at, size, end - at, number)
    return number, wire, at, at + size


def _skip_group(data: Buffer, at: int, end: int, number: int) -> int:
    """The offset after the end tag of group `number`, whose content begins at `at`."""
    open_groups = [number]
    while open_groups:
        tag, behind = read_varint(data, at, end)
        if tag & 7 == _END_GROUP:
            if tag >> 3 != open_groups.pop():
                raise WireError("the end of a group that was not begun", at)
            at = behind
        elif tag & 7 == _GROUP:
            open_groups.append(tag >> 3)
            if len(open_groups) > _DEEPEST_GROUP:
                raise WireError(f"groups nested more than {_DEEPEST_GROUP} deep", at)
            at = behind
        else:
            at = read_field(data, at, end)[3]
    return at


def read_varints(data: Buffer, at: int, end: int) -> list[int]:
    """The unsigned values of a packed repeated field."""
    values = []
    while at < end:
        value, at = read_varint(data, at, end)
        values.append(value)
    return values


def signed(value: int) -> int:
    """An unsigned 64-bit varint as int32, int64 or enum fields mean it."""
    return value - (1 << 64) if value >> 63 else value


def varint(value: int) -> bytes:
    """The bytes of a varint; negative values take ten bytes, as int32 and int64 do."""
    if value < 0:
        value += 1 << 64
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def varint_field(number: int, value: int) -> bytes:
    """An integer field."""
    return varint(number << 3 | VARINT) + varint(value)


def float_field(number: int, value: float) -> bytes:
    """A float field."""
    return varint(number << 3 | FIXED32) + struct.pack("<f", value)


def bytes_header(number: int, size: int) -> bytes:
    """What precedes the `size` bytes of a string, packed or message field."""
    return varint(number << 3 | BYTES) + varint(size)


def string_field(number: int, text: str) -> bytes:
    """A string field, UTF-8."""
    payload = text.encode("utf-8", "surrogateescape")
    return bytes_header(number, len(payload)) + payload
