"""Label maps: the text files that give a detection data set's classes their numbers and names (SSD).

``item { name: "n02084071" label: 12 display_name: "dog" }``, an item a class, the background among them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from caffecompat.errors import CaffeCompatError
from caffecompat.files import read_text
from caffecompat.schema import parse_text, pb

__all__ = ["LabelMap", "LabelMapError", "parse_label_map", "read_class_numbers", "read_label_map"]


class LabelMapError(CaffeCompatError):
    """A label map that cannot be read, or that gives a name or a number twice."""


@dataclass(frozen=True)
class LabelMap:
    """Classes by number.

    Attributes:
        names: what annotations call a class.
        display: what people call it; the name where the map says nothing.
    """

    names: dict[int, str] = field(default_factory=dict)
    display: dict[int, str] = field(default_factory=dict)

    @property
    def labels(self) -> dict[str, int]:
        """Numbers by name."""
        return {name: label for label, name in self.names.items()}

    def title(self, label: int) -> str:
        """What people call a class, or "class 7"."""
        return self.display.get(label, f"class {label}")


def read_label_map(path: str | os.PathLike[str]) -> LabelMap:
    """Read a label map.

    Raises:
        LabelMapError: the file cannot be read, or gives a name or a number twice.
        PrototxtError: it is no label map; names line and column.
    """
    return parse_label_map(_text(path), os.fspath(path))


def parse_label_map(text: str, name: str = "<text>", *, unique: bool = True) -> LabelMap:
    """The label map of a text; `name` is for messages.

    Args:
        unique: False lets several names have one number, which then goes by the first of them (as annotations may).

    Raises:
        LabelMapError, PrototxtError: as `read_label_map`.
    """
    names: dict[int, str] = {}
    display: dict[int, str] = {}
    for item in _items(text, name):
        if unique and (item.label in names or item.name in names.values()):
            raise LabelMapError(f"{name}: the class {item.name!r} (label {item.label}) is given twice")
        names.setdefault(item.label, item.name)
        display.setdefault(item.label, item.display_name or item.name)
    return LabelMap(names, display)


def read_class_numbers(path: str | os.PathLike[str], *, unique: bool = False) -> dict[str, int]:
    """Numbers by name, for annotations; several names may have one number (convert_annoset).

    Args:
        unique: a name given twice is an error; else its last number counts.

    Raises:
        LabelMapError, PrototxtError: as `read_label_map`.
    """
    numbers: dict[str, int] = {}
    for item in _items(_text(path), os.fspath(path)):
        if unique and item.name in numbers:
            raise LabelMapError(f"{os.fspath(path)}: there are many duplicates of name: {item.name}")
        numbers[item.name] = item.label
    return numbers


def _text(path: str | os.PathLike[str]) -> str:
    return read_text(path, "the label map", LabelMapError)


def _items(text: str, name: str) -> Sequence[Any]:
    items: Sequence[Any] = parse_text(text, pb.LabelMap(), name=name).item
    if not items:
        raise LabelMapError(f'{name} has no classes; expected item {{ name: "..." label: N }}')
    return items
