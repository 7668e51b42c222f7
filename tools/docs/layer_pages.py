"""The reference of layers: a page for each family's file, a section for each type, all from the classes themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from field_tables import block_message, field_table, forks_text
from page_text import plain, prose, table
from target_page import target_verdicts

from caffecompat.deploy.emitters import Emitters
from caffecompat.deploy.onnx.emission import emitters as onnx_emitters
from caffecompat.deploy.torch_source.emission import emitters as torch_emitters
from caffecompat.layers import Layer, layer_class, layer_types
from caffecompat.schema import dialects, parse_text, pb, write_text
from caffecompat.schema.block_readers import BLOCK_READERS
from caffecompat.schema.dialects import is_ours

__all__ = ["layer_pages", "layer_titles"]

_RECORDS = Path(__file__).resolve().parents[2] / "tests/golden"
_SHARED = {"param", "include", "exclude", "blobs", "bottom", "top", "name", "type", "loss_weight", "propagate_down"}


_INDEX = """\
# Layers

All layer types that are computed here, whichever Caffe they are from. Each has a section with its rule and the source
of the rule, what differs among forks, bottoms and tops, parameters with their defaults, an example with shapes that the
original Caffe computed, where it was recorded, and what exports make of it. Data layers are
[a page of their own](../data.md). This reference is made from the classes and the schema.

Every type takes the [fields of all layers](#fields-of-all-layers).

"""


@cache
def _families() -> dict[str, list[str]]:
    """Names of the layers' files -> the types in them."""
    for package in ("onnx", "torch_source"):
        import_module(f"caffecompat.deploy.{package}.layers")
    families: dict[str, list[str]] = {}
    for kind in layer_types():
        cls = layer_class(kind)
        if cls is not None and cls.__module__.startswith("caffecompat.layers."):
            families.setdefault(cls.__module__.rpartition(".")[2], []).append(kind)
    return dict(sorted(families.items()))


def layer_titles() -> dict[str, str]:
    """Titles of the families' pages by their paths."""
    return {f"reference/layers/{name}.md": _title(name) for name in _families()}


def _title(name: str) -> str:
    """Of a file's name; short ones are abbreviations (BN, CTC)."""
    return name.upper() if len(name) <= 3 else name.replace("_", " ").capitalize().replace("Hdf5", "HDF5")


def layer_pages() -> Iterator[tuple[str, str]]:
    """Paths of the pages and their text."""
    yield "reference/layers/index.md", _index()
    for (path, title), (name, kinds) in zip(layer_titles().items(), _families().items(), strict=True):
        module = import_module(f"caffecompat.layers.{name}")
        head = f"# {title} {{ #file }}\n\n{prose(module.__doc__)}\nFrom `caffecompat/layers/{name}.py`.\n\n"
        yield path, head + "\n".join(map(_section, kinds))


def _index() -> str:
    rows = []
    for name, kinds in _families().items():
        for kind in kinds:
            link = f"[{kind}]({name}.md#{kind.lower()})"
            summary = plain(_summary(_class(kind)))
            rows.append((kind.lower(), [link, summary, _forks(kind), _mark(onnx_emitters, kind)]))
    text = _INDEX
    text += table(["type", "what it computes", "in", "ONNX"], [row for _, row in sorted(rows)])
    skip = frozenset(field.name for field in pb.LayerParameter.DESCRIPTOR.fields if field.name.endswith("_param"))
    text += "\n## Fields of all layers\n\n" + field_table("LayerParameter", skip)
    for message in ("ParamSpec", "NetStateRule", "FillerParameter", "LossParameter"):
        text += f"\n### {message}\n\n{plain(dialects.message_note(message).text)}\n\n{field_table(message)}"
    return text


def _class(kind: str) -> type[Layer]:
    cls = layer_class(kind)
    assert cls is not None
    return cls


def _summary(cls: type[Layer]) -> str:
    return " ".join((cls.__doc__ or "").split("\n\n")[0].split())


def _forks(kind: str) -> str:
    forks = dialects.layer_forks(kind)
    blocks = [block for block, kinds in BLOCK_READERS.items() if kind in kinds]
    if not forks and any(is_ours(block_message(block)) for block in blocks):
        return "ours"
    return forks_text(forks[:1]) if forks and forks[0].name == "BVLC" else forks_text(forks) or "named in its text"


def _mark(emitters: Emitters[Any], kind: str) -> str:
    return "yes" if emitters.of(kind) else "no"


def _section(kind: str) -> str:
    cls = _class(kind)
    facts = [
        ["forks that have it", ", ".join(fork.value for fork in dialects.layer_forks(kind)) or _forks(kind)],
        ["bottoms", _count(cls.bottoms)],
        ["tops", _count(cls.tops)],
        ["`export onnx`", _export(onnx_emitters, kind)],
        ["`export torch`", _export(torch_emitters, kind)],
        *([f"on {name}", text] for name, text in target_verdicts(kind, "../targets.md")),
    ]
    if cls.is_loss:
        facts.insert(1, ["is", "a loss: `loss_weight` 1 unless stated"])
    text = f"## {kind}\n\n{prose(cls.__doc__)}\n{_common(cls)}{table(['', ''], facts)}\n"
    for block in sorted(block for block, kinds in BLOCK_READERS.items() if kind in kinds):
        message = block_message(block)
        text += f"`{block}` ({message}): {plain(dialects.message_note(message).text)}\n\n{field_table(message)}\n"
    return text + _example(kind)


def _common(cls: type[Layer]) -> str:
    """What the docstring of a class leaves to the one that it is built on."""
    bases = [base for base in cls.__mro__[1:] if issubclass(base, Layer) and base is not Layer and not base.type]
    said = (prose(base.__doc__) for base in bases if base.__doc__ and f"`{base.__name__}`" in (cls.__doc__ or ""))
    return "".join(f"{text}\n" for text in said)


def _count(limits: tuple[int, int | None]) -> str:
    least, most = limits
    if most is None:
        return f"{least} or more"
    return str(least) if least == most else f"{least} to {most}"


def _export(emitters: Emitters[Any], kind: str) -> str:
    return "yes" if emitters.of(kind) else f"no: it {plain(emitters.reason(kind))}"


@cache
def _records() -> dict[str, Path]:
    """The first recorded case of each type."""
    found: dict[str, Path] = {}
    for path in sorted(_RECORDS.glob("layers_*/*.npz")):
        found.setdefault(re.sub(r"-\d+$", "", path.stem), path)
    return found


def _example(kind: str) -> str:
    """The layer of a recorded case, with the shapes that went in and came out of the original."""
    path = _records().get(kind)
    if path is None:
        return ""
    with np.load(path, allow_pickle=False) as record:
        net = parse_text(str(record["prototxt"]), pb.NetParameter())
        shapes = {name: record[name].shape for name in record.files if name.startswith(("in/", "out/"))}
    layers = [layer for layer in net.layer if layer.type == kind]
    if len(layers) != 1:
        return ""
    inputs = [_shape(name, shapes.get(f"in/{name}")) for name in layers[0].bottom]
    outputs = [_shape(name, shapes.get(f"out/{name}")) for name in layers[0].top]
    alone = pb.NetParameter(layer=layers)
    shown = ", ".join(filter(None, inputs)) + " → " + ", ".join(filter(None, outputs))
    return f"A recorded case: {shown}\n\n```prototxt\n{write_text(alone)}```\n"


def _shape(name: str, shape: tuple[int, ...] | None) -> str:
    return "" if shape is None else f"`{name}` ({', '.join(map(str, shape))})"
