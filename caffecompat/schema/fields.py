"""Tables of what a message may hold, made once from its descriptor; the text reader and writer work from them."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from caffecompat.schema.pool import PACKAGE, is_repeated
from caffecompat.schema.without_effect import WITHOUT_EFFECT, NoEffect
from caffecompat.wording import few

__all__ = ["BOOL", "BYTES", "ENUM", "FLOAT", "INT", "MESSAGE", "STRING", "Field", "Table", "table_of"]

BOOL, BYTES, ENUM, FLOAT, INT, MESSAGE, STRING = range(7)

_F = FieldDescriptor
_LIMITS = {
    _F.TYPE_INT32: (-(2**31), 2**31 - 1),
    _F.TYPE_SINT32: (-(2**31), 2**31 - 1),
    _F.TYPE_SFIXED32: (-(2**31), 2**31 - 1),
    _F.TYPE_UINT32: (0, 2**32 - 1),
    _F.TYPE_FIXED32: (0, 2**32 - 1),
    _F.TYPE_INT64: (-(2**63), 2**63 - 1),
    _F.TYPE_SINT64: (-(2**63), 2**63 - 1),
    _F.TYPE_SFIXED64: (-(2**63), 2**63 - 1),
    _F.TYPE_UINT64: (0, 2**64 - 1),
    _F.TYPE_FIXED64: (0, 2**64 - 1),
}
_KINDS = {
    _F.TYPE_BOOL: BOOL,
    _F.TYPE_BYTES: BYTES,
    _F.TYPE_ENUM: ENUM,
    _F.TYPE_FLOAT: FLOAT,
    _F.TYPE_DOUBLE: FLOAT,
    _F.TYPE_MESSAGE: MESSAGE,
    _F.TYPE_STRING: STRING,
}


class Field:
    """One field: its name, kind, whether it repeats, what its values may be, and why it changes nothing, if it does."""

    __slots__ = (
        "double",
        "effect",
        "enum",
        "high",
        "initial",
        "kind",
        "low",
        "message",
        "name",
        "number",
        "owner",
        "repeated",
    )

    def __init__(self, descriptor: FieldDescriptor) -> None:
        self.name: str = descriptor.name
        self.number: int = descriptor.number
        self.kind: int = _KINDS.get(descriptor.type, INT)
        self.low, self.high = _LIMITS.get(descriptor.type, (0, 0))
        self.double: bool = descriptor.type == _F.TYPE_DOUBLE
        self.repeated: bool = is_repeated(descriptor)
        self.message: Descriptor | None = descriptor.message_type
        self.enum: EnumDescriptor | None = descriptor.enum_type
        self.initial: Any = descriptor.default_value
        assert descriptor.containing_type is not None
        self.owner: str = descriptor.containing_type.full_name.removeprefix(f"{PACKAGE}.")
        self.effect: NoEffect | None = WITHOUT_EFFECT.get(f"{self.owner}.{self.name}")

    def wants(self) -> str:
        """What a value of this field looks like, for an error."""
        if self.kind == INT:
            return f"a whole number from {self.low} to {self.high}"
        if self.kind == ENUM:
            assert self.enum is not None
            return f"one of {few([value.name for value in self.enum.values], 12)}"
        plain = {BOOL: "true or false", FLOAT: "a number", MESSAGE: "a block { ... }"}
        return plain.get(self.kind, 'a string in quotes ("...")')


class Table:
    """A message type: its fields by name, and in order of number, as C++ prints them."""

    __slots__ = ("fields", "name", "ordered")

    def __init__(self, descriptor: Descriptor) -> None:
        self.name: str = descriptor.name
        self.ordered = sorted(map(Field, descriptor.fields), key=lambda field: field.number)
        self.fields = {field.name: field for field in self.ordered}


_tables: dict[Any, Table] = {}


def table_of(descriptor: Any) -> Table:
    """The table of a message's descriptor."""
    table = _tables.get(descriptor)
    if table is None:
        table = _tables[descriptor] = Table(descriptor)
    return table
