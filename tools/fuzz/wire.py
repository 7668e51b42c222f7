"""Damage to protobuf messages, .resume and .safetensors files that leaves their lengths and checksums right."""

from __future__ import annotations

import random
from typing import NamedTuple

from mutators import Mutator, mutate

__all__ = ["RESUME", "SAFETENSORS", "WIRE", "resume_content", "safetensors_header"]

_DEEPEST = 8
_VARINTS = (
    *(0, 1, 2, 3, 4, 5, 7, 127, 128, 1 << 16, (1 << 31) - 1, 1 << 31),
    *((1 << 32) - 1, 1 << 32, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1),
)


class _Field(NamedTuple):
    number: int
    wire: int
    value: bytes  # varint and fixed: as they are; bytes: without their length

    def encoded(self) -> bytes:
        size = _varint(len(self.value)) if self.wire == 2 else b""
        return _varint(self.number << 3 | self.wire) + size + self.value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("too long")


def _fields(data: bytes) -> list[_Field] | None:
    """The fields of a message; None where the bytes are none."""
    fields, at = [], 0
    try:
        while at < len(data):
            tag, at = _read_varint(data, at)
            wire, begin = tag & 7, at
            if not tag >> 3 or wire not in (0, 1, 2, 5):
                return None
            if wire == 0:
                _, at = _read_varint(data, at)
            elif wire == 2:
                size, begin = _read_varint(data, at)
                at = begin + size
            else:
                at += 8 if wire == 1 else 4
            if at > len(data):
                return None
            fields.append(_Field(tag >> 3, wire, data[begin:at]))
    except (IndexError, ValueError):
        return None
    return fields


def message(data: bytes, generator: random.Random, depth: int = 0) -> bytes:
    """One field changed, of the message or of one inside; the lengths around it are put right."""
    fields = _fields(data)
    if not fields:
        return mutate(data, generator)
    at = generator.randrange(len(fields))
    field = fields[at]
    if field.wire == 2 and depth < _DEEPEST and generator.random() < 0.75 and _fields(field.value):
        fields[at] = field._replace(value=message(field.value, generator, depth + 1))
    else:
        fields[at : at + 1] = _changed(field, generator)
    if depth == 0 and generator.random() < 0.1:
        generator.shuffle(fields)
    return b"".join(field.encoded() for field in fields)


def _changed(field: _Field, generator: random.Random) -> list[_Field]:
    """What stands in a field's place."""
    which = generator.randrange(9)
    if which == 0:
        return []
    if which == 1:
        return [field] * generator.choice((2, 2, 3, 200 if len(field.value) < 1000 else 2))
    if which == 2:
        return [field._replace(number=generator.choice((1, 2, 3, 4, 5, 6, 7, 8, 9, 100, 101, 7 << 10, (1 << 29) - 1)))]
    if which == 3:
        return [field, _Field(generator.randrange(1, 200), 2, generator.randbytes(generator.choice((0, 1, 8, 300))))]
    if which == 4:
        group = _varint(field.number << 3 | 3), _varint(field.number << 3 | 4)
        return [_Field(field.number, 0, _varint(1) + group[0] + field.encoded() + group[1])]
    if which == 5:  # another type on the wire
        wire = generator.choice([wire for wire in (0, 1, 2, 5) if wire != field.wire])
        content = {0: _varint(generator.choice(_VARINTS)), 1: generator.randbytes(8), 2: field.value}
        return [_Field(field.number, wire, content.get(wire, generator.randbytes(4)))]
    if field.wire == 0:
        return [field._replace(value=_varint(generator.choice(_VARINTS)))]
    if field.wire == 2:
        if which == 6:
            return [field._replace(value=field.value[: generator.randrange(len(field.value) + 1)])]
        if which == 7:
            text = (b"", b"\xff\xfe", b"a\0b", b"\x1b[31m", b"x" * 5000, b"__class__", b"a/b", "Ж中".encode())
            return [field._replace(value=generator.choice(text))]
        return [field._replace(value=mutate(field.value, generator))]
    numbers = (b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\x80\xff", b"\xff\xff\xff\xff", b"\x01\0\0\0")
    return [field._replace(value=(generator.choice(numbers) * 2)[: len(field.value)])]


WIRE: tuple[Mutator, ...] = (message,) * 12


def resume_content(data: bytes, generator: random.Random) -> bytes:
    """A damaged .resume file whose digest is right."""
    from mutators import TEXT_MUTATORS

    from caffecompat.formats import resume_file

    _, _, body = data.partition(b"\n")
    text, line, arrays = body.partition(b"\n")
    if generator.random() < 0.8:
        text = generator.choice(TEXT_MUTATORS)(text, generator)
    else:
        arrays = mutate(arrays, generator)
    body = text + line + arrays
    return b"caffecompat resume 1 " + resume_file._digest(body).encode() + b"\n" + body


def safetensors_header(data: bytes, generator: random.Random) -> bytes:
    """A damaged header whose length is right."""
    from mutators import TEXT_MUTATORS

    size = int.from_bytes(data[:8], "little")
    if not 0 < size <= len(data) - 8:
        return data
    header = generator.choice(TEXT_MUTATORS)(data[8 : 8 + size], generator)
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


RESUME: tuple[Mutator, ...] = (resume_content,) * 8
SAFETENSORS: tuple[Mutator, ...] = (safetensors_header,) * 8
