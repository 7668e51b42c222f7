"""The fields of a message as texts by path, so that two messages that mean the same give the same.

A field at its default is left out; ``kernel_h`` with ``kernel_w`` is ``kernel_size``; a value given once a spatial
axis is given once; empty ``param`` blocks and loss weights that Caffe would assume are left out as well.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from caffecompat.forks import Fork
from caffecompat.schema import fields as f
from caffecompat.schema import pb
from caffecompat.schema.fields import table_of
from caffecompat.schema.text_writer import scalar_text, write_text
from caffecompat.schema.unknown_fields import unknown_field_texts

__all__ = ["FieldChange", "changed_fields", "field_texts", "layer_fields"]

_GEOMETRY = ("kernel_size", "stride", "pad")
_NOT_PARAMETERS = ("name", "type", "bottom", "top", "blobs", "phase", "param", "loss_weight")


@dataclass(frozen=True)
class FieldChange:
    """A field whose value differs: `path` as in ``convolution_param.pad``; a value is text, None where none is set."""

    path: str
    a: str | None
    b: str | None


def field_texts(message: Message, skip: Collection[str] = ()) -> dict[str, str]:
    """Texts of all fields of a message that differ from the schema's defaults, by path.

    Args:
        skip: fields of the message itself to leave out.
    """
    texts: dict[str, str] = {}
    _add_fields(message, "", skip, texts)
    return texts


def _add_fields(message: Message, prefix: str, skip: Collection[str], texts: dict[str, str]) -> None:
    by_name = table_of(message.DESCRIPTOR).fields
    own: dict[str, str] = {}
    for descriptor, value in message.ListFields():
        if descriptor.name in skip:
            continue
        entry, path = by_name[descriptor.name], prefix + descriptor.name
        if entry.kind == f.MESSAGE:
            _add_messages(descriptor.name, value, entry.repeated, path, texts)
        elif entry.repeated:
            own[entry.name] = _list([scalar_text(entry, item) for item in value])
        elif not (descriptor.has_default_value and value == descriptor.default_value):
            own[entry.name] = scalar_text(entry, value)
    if "kernel_h" in by_name:
        own = _geometry(own)
    texts.update((prefix + name, text) for name, text in own.items())
    for text in unknown_field_texts(message):
        name, _, value = text.partition(":") if re.match(r"\w+\s*:", text) else text.partition(" ")
        texts[prefix + name.strip()] = " ".join(value.split())


def _add_messages(name: str, value: Any, repeated: bool, path: str, texts: dict[str, str]) -> None:
    if name in ("include", "exclude"):
        texts[path] = " ".join(sorted(_compact(rule) for rule in value))
    elif name == "shape" and repeated:
        texts[path] = " ".join("x".join(map(str, shape.dim)) for shape in value)
    elif repeated:
        for index, item in enumerate(value):
            before = len(texts)
            _add_fields(item, f"{path}[{index}].", (), texts)
            if len(texts) == before and name != "param":
                texts[f"{path}[{index}]"] = "{ }"
    else:
        _add_fields(value, path + ".", (), texts)


def _compact(message: Message) -> str:
    return "{ " + " ".join(write_text(message).split()) + " }"


def _list(values: list[str]) -> str:
    return values[0] if len(values) == 1 else f"[{', '.join(values)}]"


def _geometry(own: Mapping[str, str]) -> dict[str, str]:
    """One notation of kernel, stride, pad and dilation."""
    texts = dict(own)
    for name in _GEOMETRY:
        stem = name.removesuffix("_size")
        if f"{stem}_h" in texts or f"{stem}_w" in texts:
            unset = "1" if name == "stride" else "0"
            texts[name] = f"[{texts.pop(f'{stem}_h', unset)}, {texts.pop(f'{stem}_w', unset)}]"
    for name, default in (("kernel_size", ""), ("stride", "1"), ("pad", "0"), ("dilation", "1")):
        values = set(re.findall(r"\d+", texts.get(name, "")))
        if len(values) == 1:
            texts[name] = values.pop()
        if texts.get(name) == default:
            del texts[name]
    return texts


def layer_fields(layer: pb.LayerParameter, fork: Fork) -> dict[str, str]:
    """The fields of a LayerParameter of today's form besides its name, type, bottoms and tops.

    Args:
        fork: whose rules the net follows: unless ``fork.learns_batch_norm``, BatchNorm's own blobs never learn.
    """
    texts = field_texts(layer, _NOT_PARAMETERS)
    if layer.type != "BatchNorm" or fork.learns_batch_norm:
        _add_messages("param", layer.param, True, "param", texts)
    weights = [float(weight) for weight in layer.loss_weight]
    assumed = 1.0 if layer.type.endswith("Loss") else 0.0  # of the first top; 0 for the others
    if weights and (weights[0] != assumed or any(weights[1:])):
        texts["loss_weight"] = _list([f"{weight:g}" for weight in weights])
    return texts


def changed_fields(a: Mapping[str, str], b: Mapping[str, str], descriptor: Any) -> list[FieldChange]:
    """Differences of two messages' texts, in the order of their paths; a missing value is given as its default."""
    changes = []
    for path in sorted({*a, *b}):
        if a.get(path) != b.get(path):
            default = _default(descriptor, path)
            changes.append(FieldChange(path, a.get(path, default), b.get(path, default)))
    return changes


def _default(descriptor: Any, path: str) -> str | None:
    """The value of a field that is not set: the schema's default, or that of kernel geometry; None without one."""
    *outer, last = re.sub(r"\[\d+\]", "", path).split(".")
    for name in outer:
        field = descriptor.fields_by_name.get(name)
        if field is None or field.message_type is None:
            return None
        descriptor = field.message_type
    field = descriptor.fields_by_name.get(last)
    if field is not None and field.has_default_value:
        return scalar_text(table_of(descriptor).fields[last], field.default_value)
    if "kernel_h" in descriptor.fields_by_name:
        return {"stride": "1", "pad": "0", "dilation": "1"}.get(last)
    return None
