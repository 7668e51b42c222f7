"""Fields that no schema of ours knows: carried inside the message as text, printed again, never in weight files.

The text of such a field lies in the message as an unknown wire field under one number that no Caffe uses, so it
travels with ``CopyFrom`` and ``MergeFrom`` and counts in ``==``. Serializing a message would write it too: weight
files are written from ``without_unknown_fields(message)``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TypeVar

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from caffecompat.wire import bytes_header

__all__ = ["add_unknown_field", "carry_unknown_fields", "unknown_field_texts", "without_unknown_fields"]

AnyMessage = TypeVar("AnyMessage", bound=Message)

_NUMBER = 536870911  # protobuf's greatest field number


def add_unknown_field(message: Message, text: str) -> None:
    """Add a field's text (name and value, lines unindented) to what `message` carries."""
    data = text.encode()
    message.MergeFromString(bytes_header(_NUMBER, len(data)) + data)


def unknown_field_texts(message: Message) -> list[str]:
    """The texts that `message` itself carries, in the order they were read."""
    carried: Iterable[Any] = UnknownFieldSet(message)  # type: ignore[assignment]  # the stubs forget that it iterates
    return [field.data.decode() for field in carried if field.field_number == _NUMBER]


def carry_unknown_fields(source: Message, target: Message) -> None:
    """Have a message of another type carry what `source` does.

    What that type has a field for is left out: it had no effect, and would have one where the text is read again.
    """
    for text in unknown_field_texts(source):
        name = re.match(r"\w+", text)
        if name is None or name[0] not in target.DESCRIPTOR.fields_by_name:
            add_unknown_field(target, text)


def without_unknown_fields(message: AnyMessage) -> AnyMessage:
    """A copy of `message` whose binary form holds known fields only, at every depth."""
    copy = type(message)()
    copy.CopyFrom(message)
    copy.DiscardUnknownFields()
    return copy
