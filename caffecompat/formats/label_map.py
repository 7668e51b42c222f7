"""Label maps: the text files that give a detection data set's classes their numbers and names (SSD).

``item { name: "n02084071" label: 12 display_name: "dog" }``, an item a class, the background among them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from caffecompat.errors import CaffeCompatError
from caffecompat.schema import parse_text, pb

__all__ = ["LabelMap", "LabelMapError", "read_class_numbers", "read_label_map"]


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
    items = _read(path)
    names: dict[int, str] = {}
    for item in items:
        if item.label in names or item.name in names.values():
            raise LabelMapError(f"{os.fspath(path)}: the class {item.name!r} (label {item.label}) is given twice")
        names[item.label] = item.name
    return LabelMap(names, {item.label: item.display_name or item.name for item in items})


def read_class_numbers(path: str | os.PathLike[str], *, unique: bool = False) -> dict[str, int]:
    """Numbers by name, for annotations; several names may have one number (convert_annoset).

    Args:
        unique: a name given twice is an error; else its last number counts.

    Raises:
        LabelMapError, PrototxtError: as `read_label_map`.
    """
    numbers: dict[str, int] = {}
    for item in _read(path):
        if unique and item.name in numbers:
            raise LabelMapError(f"{os.fspath(path)}: there are many duplicates of name: {item.name}")
        numbers[item.name] = item.label
    return numbers


def _read(path: str | os.PathLike[str]) -> Sequence[Any]:
    """The items of a label map."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text file"
        raise LabelMapError(f"cannot read the label map {os.fspath(path)}: {reason}") from None
    items: Sequence[Any] = parse_text(text, pb.LabelMap(), name=os.fspath(path)).item
    if not items:
        raise LabelMapError(f'{os.fspath(path)} has no classes; expected item {{ name: "..." label: N }}')
    return items
