"""From a message to prototxt text, letter for letter as C++ protobuf's ``DebugString`` prints it for Caffe."""

from __future__ import annotations

import struct
from typing import Any

from google.protobuf.message import Message

from caffecompat.errors import CaffeCompatError
from caffecompat.schema import fields as f
from caffecompat.schema.fields import Field, table_of
from caffecompat.schema.unknown_fields import unknown_field_texts

__all__ = ["escape", "scalar_text", "write_text"]

_FLOAT = struct.Struct("<f")


def write_text(message: Message) -> str:
    """The message in protobuf's text format.

    Two blanks a level, fields by number, one line for each element of a repeated field, enum values by name, strings
    in C escapes (bytes outside ASCII in octal). A float is printed with 6 digits where these give it back exactly and
    with 9 otherwise, a double with 15 or 17. Unknown fields kept by the reader follow at the end of their block.

    Raises:
        CaffeCompatError: `message` is no message (a path, say).

    >>> import caffecompat
    >>> print(caffecompat.write_text(caffecompat.read_net("deploy.prototxt").layer[3]), end="")
    name: "prob"
    type: "Softmax"
    bottom: "fc"
    top: "prob"
    """
    if not isinstance(message, Message):
        raise CaffeCompatError(f"expected a message, as read_net gives it, not {type(message).__name__}")
    lines: list[str] = []
    _write(message, "", lines)
    lines.append("")
    return "\n".join(lines)


def _write(message: Message, indent: str, lines: list[str]) -> None:
    by_name = table_of(message.DESCRIPTOR).fields
    for descriptor, value in message.ListFields():
        entry = by_name[descriptor.name]
        for item in value if entry.repeated else (value,):
            if entry.kind == f.MESSAGE:
                lines.append(f"{indent}{entry.name} {{")
                _write(item, indent + "  ", lines)
                lines.append(indent + "}")
            else:
                lines.append(f"{indent}{entry.name}: {scalar_text(entry, item)}")
    for text in unknown_field_texts(message):
        lines.extend(indent + line for line in text.split("\n"))


def scalar_text(entry: Field, value: Any) -> str:
    """A value of a field that is no message, as the text format spells it."""
    kind = entry.kind
    if kind == f.STRING:
        return f'"{escape(value.encode())}"'
    if kind == f.FLOAT:
        return _real(value, entry.double)
    if kind == f.BOOL:
        return "true" if value else "false"
    if kind == f.ENUM:
        assert entry.enum is not None
        named = entry.enum.values_by_number.get(value)
        return str(value) if named is None else named.name
    if kind == f.BYTES:
        return f'"{escape(value)}"'
    return str(value)


def _real(value: float, double: bool) -> str:
    if double:
        short = f"{value:.15g}"
        return short if value != value or float(short) == value else f"{value:.17g}"
    short = f"{value:.6g}"
    if value != value or value in (float("inf"), float("-inf")):
        return short
    return short if _FLOAT.unpack(_FLOAT.pack(float(short)))[0] == value else f"{value:.9g}"


def _escaped_bytes() -> list[str]:
    table = [chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}" for byte in range(256)]
    for character, letters in (("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"), ('"', '\\"'), ("'", "\\'"), ("\\", "\\\\")):
        table[ord(character)] = letters
    return table


_ESCAPED = _escaped_bytes()


def escape(data: bytes) -> str:
    """Bytes as the inside of a quoted string."""
    return "".join([_ESCAPED[byte] for byte in data])
