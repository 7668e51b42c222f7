"""Tables of the schema's fields: types, defaults, forks and meaning, from proto/caffe.proto and its comments."""

from __future__ import annotations

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from page_text import code, plain, table

from caffecompat.forks import Fork
from caffecompat.schema import dialects, pb
from caffecompat.schema.without_effect import HARMLESS, WITHOUT_EFFECT

__all__ = ["block_message", "field_table", "forks_text", "linked_messages"]

_SCALARS = {
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_FLOAT: "float",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_UINT64: "uint64",
}


def descriptor_of(message: str) -> Descriptor:
    """The descriptor of a message of package caffe by its name."""
    descriptor: Descriptor = getattr(pb, message).DESCRIPTOR
    return descriptor


def block_message(block: str) -> str:
    """The name of the message of a layer's block (``pooling_param``)."""
    message = pb.LayerParameter.DESCRIPTOR.fields_by_name[block].message_type
    assert message is not None
    return message.name


def forks_text(forks: tuple[Fork, ...]) -> str:
    """Forks in a cell; BVLC's fields are those of most forks."""
    return "BVLC and most" if forks == (Fork.BVLC,) else ", ".join(fork.value for fork in forks)


def field_table(message: str, skip: frozenset[str] = frozenset()) -> str:
    """A message's fields, in the order of the schema.

    Args:
        message: its name in package caffe, with those it is nested in.
        skip: fields that are left out.
    """
    rows = []
    for field in descriptor_of(message).fields:
        if field.name in skip:
            continue
        note = dialects.field_note(message, field.name)
        who = "ours" if dialects.is_ours(message, field.name) else forks_text(note.forks)
        text = plain(note.text) + _effect(f"{message}.{field.name}")
        rows.append([code(field.name), _type(field), _default(field), who, text])
    return table(["field", "type", "default", "in", "meaning"], rows)


def linked_messages(message: str) -> list[str]:
    """Names of the messages that a message's fields are of, in order."""
    names = [field.message_type.full_name for field in descriptor_of(message).fields if field.message_type]
    return list(dict.fromkeys(name.removeprefix("caffe.") for name in names))


def _effect(name: str) -> str:
    if name in WITHOUT_EFFECT:
        entry = WITHOUT_EFFECT[name]
        where = "No effect here" if entry.obeyed is None else "Not in every layer that has it"
        return f" **{where}**, with a warning" + (f": {plain(entry.advice)}" if entry.advice else "")
    reason = HARMLESS.get(name)
    return f" Not looked at: {plain(str(reason))}" if reason else ""


def _type(field: FieldDescriptor) -> str:
    if field.enum_type:
        name = " ".join(code(value.name) for value in field.enum_type.values)
    else:
        name = code(field.message_type.name if field.message_type else _SCALARS.get(field.type, "?"))
    return f"{name}, repeated" if field.is_repeated else name


def _default(field: FieldDescriptor) -> str:
    if field.is_repeated or field.message_type:
        return ""
    if field.enum_type:
        return code(field.enum_type.values_by_number[field.default_value].name)
    if not field.has_default_value:
        return ""
    value = field.default_value
    if isinstance(value, bool):
        return code(str(value).lower())
    return code(f"{value:g}" if isinstance(value, float) else str(value))
