"""Python values for fields of messages, as the protobuf of Caffe's days took them.

Scripts written for pycaffe put bools and numpy numbers into integer fields (``ignore_label=True``,
``num_output=np.round(n / 2)``). Protobuf 7 refuses them; in Python a bool is an integer, and a whole number is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from caffecompat.schema import pool

__all__ = ["accept_numbers", "field_value", "is_list"]

_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_INT64,
    FieldDescriptor.CPPTYPE_UINT32,
    FieldDescriptor.CPPTYPE_UINT64,
}

_patched: list[type[Message]] = []  # kept, as protobuf makes a class again when nobody holds it


def field_value(field: Any, value: Any) -> Any:
    """A single value as the field takes it: numpy's scalars as Python's, for integers bools and whole numbers too.

    Example:
        ``field_value(ignore_label, True)`` is 1, ``field_value(num_output, np.float64(8))`` is 8.

    Raises:
        TypeError: a Python float for an integer field, as protobuf has it; the message names ``//``.
    """
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        number = value.item()
        value = int(number) if field.cpp_type in _INTEGERS and _is_whole(number) else number
    if field.cpp_type not in _INTEGERS:
        return value
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        hint = "; Python 3's / gives floats, // gives whole numbers" if _is_whole(value) else ""
        raise TypeError(f"expected an integer, got the float {value!r}{hint}")
    return value


def is_list(value: Any) -> bool:
    """Whether a value is several for a repeated field."""
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _is_whole(number: Any) -> bool:
    return isinstance(number, float) and number.is_integer()


def accept_numbers() -> None:
    """Let the message classes of the schema take such values too, when set and when constructed.

    The classes are of this package's own pool, so other users of protobuf keep theirs as they are. Lists inside of
    messages (``kernel_size.append(True)``) are protobuf's own and stay strict.
    """
    waiting = list(pool.SCHEMA.message_types_by_name.values())
    while waiting:
        descriptor = waiting.pop()
        waiting += descriptor.nested_types
        cls = pool.message_class(descriptor.full_name.removeprefix(f"{pool.PACKAGE}."))
        _patch(cls)
        _patched.append(cls)


def _patch(cls: type[Message]) -> None:
    construct, assign, fields = cls.__init__, cls.__setattr__, cls.DESCRIPTOR.fields_by_name

    def __init__(self: Any, **values: Any) -> None:
        construct(self, **{name: _value(fields.get(name), value) for name, value in values.items()})

    def __setattr__(self: Any, name: str, value: Any) -> None:
        try:
            assign(self, name, value)
        except TypeError:
            if name not in fields or pool.is_repeated(fields[name]):
                raise
            assign(self, name, field_value(fields[name], value))

    cls.__init__ = __init__  # type: ignore[method-assign]
    cls.__setattr__ = __setattr__  # type: ignore[method-assign]


def _value(field: Any, value: Any) -> Any:
    """What a constructor's keyword may be: a value, a list of them, or a dict for a message."""
    if field is None or value is None:
        return value
    if isinstance(value, Mapping):
        fields = field.message_type.fields_by_name if field.message_type is not None else {}
        return {name: _value(fields.get(name), item) for name, item in value.items()}
    if pool.is_repeated(field) and is_list(value):
        return [_value(field, item) for item in value]
    return value if field.message_type is not None else field_value(field, value)
