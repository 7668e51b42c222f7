"""The private descriptor pool that holds the merged Caffe schema.

Protobuf's default pool knows one definition per full name in a process. Another package may well have put its own
``caffe.proto`` there (pycaffe, OpenCV's tools, converters), so ours lives in a pool of its own and the two never
meet. The pool is filled from ``caffe.desc``, the compiled form of ``proto/caffe.proto`` that the build puts next to
this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message import Message

from caffecompat.errors import CaffeCompatError
from caffecompat.schema.legacy_types import FORK_V1_TYPES

PACKAGE = "caffe"
DESCRIPTOR_FILE = Path(__file__).with_name("caffe.desc")

V1_SETTINGS = 1_000_000  # plus LayerParameter's number: what only forks have in V1LayerParameter


def read_descriptor(path: Path = DESCRIPTOR_FILE) -> FileDescriptorProto:
    """The compiled schema as the build wrote it, comments included, V1 layers as all forks have them.

    Raises:
        CaffeCompatError: the file is missing, because the package was never built.
    """
    files = FileDescriptorSet()
    try:
        files.ParseFromString(path.read_bytes())
    except FileNotFoundError:
        raise CaffeCompatError(
            f"the compiled schema {path} is missing; it is made from proto/caffe.proto at build: "
            "run 'pip install -e .' in the source tree"
        ) from None
    _complete_v1(files.file[0])
    return files.file[0]


def _complete_v1(file: FileDescriptorProto) -> None:
    """Give V1LayerParameter the layer types and the settings that forks added to it, in place.

    Texts name them, and each fork numbered them in its own way, so any free number serves.
    """
    messages: dict[str, DescriptorProto] = {message.name: message for message in file.message_type}
    v1 = messages["V1LayerParameter"]
    types = next(enum for enum in v1.enum_type if enum.name == "LayerType")
    for number, name in enumerate(FORK_V1_TYPES, 1000):
        types.value.add(name=name, number=number)
    known = {field.name for field in v1.field}
    for field in messages["LayerParameter"].field:
        if field.type == FieldDescriptorProto.TYPE_MESSAGE and field.name not in known and field.name != "param":
            v1.field.add().CopyFrom(field)
            v1.field[-1].number += V1_SETTINGS


def _load(file: FileDescriptorProto) -> FileDescriptor:
    """Fill a fresh pool with the schema."""
    file.ClearField("source_code_info")
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    schema = pool.FindFileByName(file.name)
    _classes.extend(_placed_classes(schema.message_types_by_name.values()))
    return schema


_classes: list[type[Message]] = []  # protobuf makes a class again, without its place, where nobody holds it


def _placed_classes(messages: Iterable[Descriptor]) -> Iterator[type[Message]]:
    """The message classes, which are found in ``schema.pb``: by that messages pickle, and nets with them."""
    for message in messages:
        made = message_factory.GetMessageClass(message)
        made.__module__ = "caffecompat.schema.pb"
        made.__qualname__ = message.full_name.removeprefix(f"{PACKAGE}.")
        yield made
        yield from _placed_classes(message.nested_types)


SCHEMA: FileDescriptor = _load(read_descriptor())


def replace(file: FileDescriptorProto) -> None:
    """Use another schema from now on; classes that were handed out before keep to the old one."""
    global SCHEMA
    SCHEMA = _load(file)


def message_class(name: str) -> type[Message]:
    """The class of a message by its name within package ``caffe``, e.g. ``"ProposalParameter.Anchor"``.

    Raises:
        KeyError: the schema has no message of that name.
    """
    return message_factory.GetMessageClass(SCHEMA.pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))


def is_repeated(field: Any) -> bool:
    """Whether a field holds a list. Protobuf before 6.31 knows only ``label``, of which later ones warn."""
    repeated: bool | None = getattr(field, "is_repeated", None)
    return field.label == FieldDescriptor.LABEL_REPEATED if repeated is None else repeated


def lookup(name: str) -> Any:
    """What a generated ``caffe_pb2`` module would hold under ``name``: a message class, an enum or an enum's value.

    Raises:
        AttributeError: the schema has no such top-level name.
    """
    message: Descriptor | None = SCHEMA.message_types_by_name.get(name)
    if message is not None:
        return message_factory.GetMessageClass(message)
    enum: EnumDescriptor | None = SCHEMA.enum_types_by_name.get(name)
    if enum is not None:
        return EnumTypeWrapper(enum)
    for enum in SCHEMA.enum_types_by_name.values():
        if name in enum.values_by_name:
            return enum.values_by_name[name].number
    raise AttributeError(f"the Caffe schema has no message, enum or enum value {name!r}")


def names() -> list[str]:
    """Every name that ``lookup`` answers, sorted."""
    found = [*SCHEMA.message_types_by_name, *SCHEMA.enum_types_by_name]
    for enum in SCHEMA.enum_types_by_name.values():
        found += enum.values_by_name
    return sorted(found)
