"""A user's own fork: its ``caffe.proto``, read at run time and merged into the schema."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from shutil import which
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

from caffecompat.errors import CaffeCompatError, brief
from caffecompat.schema import pb, pool

__all__ = ["merge", "use_proto"]

# Where a field goes whose number the merged schema uses for another one. Texts go by name, so any free number serves.
_ELSEWHERE = 80000

_UNDEFINED = re.compile(r'"(\w+)" is not defined')


def use_proto(path: str | os.PathLike[str]) -> list[str]:
    """Add what a fork's ``caffe.proto`` defines beyond the merged schema; to be called before any file is read.

    Needs the protobuf compiler: ``protoc``, or the Python package grpcio-tools. The file may use types of the merged
    schema (FillerParameter, Phase) without defining them.

    Returns:
        The names of the messages and fields that were added.

    Raises:
        CaffeCompatError: the file does not compile, there is no compiler, or the schema is in use already.
    """
    if pb.in_use():
        raise CaffeCompatError(f"{path}: a schema of one's own must be named before the first file is read")
    schema = pool.read_descriptor()
    schema.ClearField("source_code_info")
    files = [file for file in _compile(Path(path)).file if not file.package.startswith("google")]
    added = [name for file in files for name in merge(schema, file)]
    # When all is there: a file may use types of one that it imports, in another package or in none (the shortest).
    for prefix in sorted({f".{file.package}." if file.package else "." for file in files}, key=len, reverse=True):
        for message in schema.message_type:
            _rename_types(message, prefix)
    try:
        pool.replace(schema)
    except TypeError as problem:  # a type of google's own packages, for one
        raise CaffeCompatError(f"{path}: does not fit the schema: {brief(problem)}") from None
    return added


def _compile(path: Path) -> FileDescriptorSet:
    if not path.is_file():
        raise CaffeCompatError(f"{path}: no such file")
    with tempfile.TemporaryDirectory() as folder:
        target = os.path.join(folder, "user.desc")
        problem = _run_compiler(path, path.name, target, [path.parent])
        if lent := _borrowed(problem):
            copy = Path(folder) / path.name
            copy.write_text(f"{path.read_text()}\n{lent}")
            problem = _run_compiler(path, str(copy), target, [folder, path.parent])
        if problem:
            raise CaffeCompatError(f"{path} does not compile:\n{problem}")
        files = FileDescriptorSet()
        files.ParseFromString(Path(target).read_bytes())
        return files


def _run_compiler(path: Path, source: str, target: str, folders: Sequence[str | Path]) -> str:
    """What the compiler says of a file that it cannot translate; "" where it can."""
    words = [*(f"--proto_path={folder}" for folder in folders), f"--descriptor_set_out={target}", "--include_imports"]
    result = subprocess.run([*_compiler(path), *words, source], capture_output=True, text=True, errors="replace")
    return result.stderr.strip() if result.returncode else ""


def _borrowed(problem: str) -> str:
    """Declarations of the merged schema's types that a file uses and leaves out, FillerParameter for one."""
    names = set(_UNDEFINED.findall(problem))
    schema = pool.read_descriptor()
    lines = [f"message {message.name} {{}}" for message in schema.message_type if message.name in names]
    for enum in schema.enum_type:
        if enum.name in names:
            values = " ".join(f"{value.name} = {value.number};" for value in enum.value)
            lines.append(f"enum {enum.name} {{ {values} }}")
    return "\n".join(lines)


def _compiler(path: Path) -> list[str]:
    import importlib.util
    import sys

    if importlib.util.find_spec("grpc_tools"):
        return [sys.executable, "-m", "grpc_tools.protoc"]
    protoc = which("protoc")
    if protoc:
        return [protoc]
    raise CaffeCompatError(
        f"{path}: reading a .proto needs a compiler: pip install 'caffecompat[proto]', or install protoc"
    )


def merge(schema: FileDescriptorProto, theirs: FileDescriptorProto) -> list[str]:
    """Add to `schema` the messages, fields and enum values of `theirs` that it lacks; returns their names."""
    added: list[str] = []
    _merge_types(schema.message_type, schema.enum_type, theirs.message_type, theirs.enum_type, "", added)
    return added


def _merge_types(messages: Any, enums: Any, their_messages: Any, their_enums: Any, path: str, added: list[str]) -> None:
    known = {message.name: message for message in messages}
    for message in their_messages:
        if message.name in known:
            _merge_message(known[message.name], message, f"{path}{message.name}.", added)
        else:
            _loosen(message)
            messages.add().CopyFrom(message)
            added.append(path + message.name)
    known_enums = {enum.name: enum for enum in enums}
    for enum in their_enums:
        if enum.name in known_enums:
            _merge_enum(known_enums[enum.name], enum, f"{path}{enum.name}.", added)
        else:
            enums.add().CopyFrom(enum)
            added.append(path + enum.name)


def _merge_message(ours: DescriptorProto, theirs: DescriptorProto, path: str, added: list[str]) -> None:
    _merge_types(ours.nested_type, ours.enum_type, theirs.nested_type, theirs.enum_type, path, added)
    names, numbers = {field.name for field in ours.field}, {field.number for field in ours.field}
    _loosen(theirs)
    for field in theirs.field:
        if field.name in names:
            continue
        mine = ours.field.add()
        mine.CopyFrom(field)
        mine.ClearField("oneof_index")
        while mine.number in numbers:
            mine.number += _ELSEWHERE
        numbers.add(mine.number)
        added.append(path + field.name)


def _merge_enum(ours: Any, theirs: Any, path: str, added: list[str]) -> None:
    names, numbers = {value.name for value in ours.value}, {value.number for value in ours.value}
    for value in theirs.value:
        if value.name not in names:
            number = value.number + _ELSEWHERE if value.number in numbers else value.number
            ours.value.add(name=value.name, number=number)
            numbers.add(number)
            added.append(path + value.name)


def _loosen(message: DescriptorProto) -> None:
    """Required fields become optional, so that partial texts parse, as everywhere in the merged schema."""
    for field in message.field:
        if field.label == FieldDescriptorProto.LABEL_REQUIRED:
            field.label = FieldDescriptorProto.LABEL_OPTIONAL
    for nested in message.nested_type:
        _loosen(nested)


def _rename_types(message: DescriptorProto, prefix: str) -> None:
    """Types of another package's name are found in ours."""
    ours = f".{pool.PACKAGE}."
    for field in message.field:
        if field.type_name.startswith(prefix) and prefix != ours and not field.type_name.startswith(ours):
            field.type_name = ours + field.type_name[len(prefix) :]
    for nested in message.nested_type:
        _rename_types(nested, prefix)
