"""Label maps: the text files that give a detection data set's classes their numbers and names (SSD).

``item { name: "n02084071" label: 12 display_name: "dog" }``, an item a class, the background among them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from caffecompat.errors import CaffeCompatError
from caffecompat.files import read_text
from caffecompat.formats.atomic import atomic_write, protects
from caffecompat.schema import parse_text, pb, write_text

__all__ = [
    "LabelMap",
    "LabelMapError",
    "create_label_map",
    "parse_label_map",
    "read_class_numbers",
    "read_label_map",
]


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
        unique: False lets several names have one number, which then gets the first of them (as annotations may).

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


def _items(text: str, name: str) -> Sequence[pb.LabelMapItem]:
    items: Sequence[pb.LabelMapItem] = parse_text(text, pb.LabelMap(), name=name).item
    if not items:
        raise LabelMapError(f'{name} has no classes; expected item {{ name: "..." label: N }}')
    return items


@protects("names")
def create_label_map(
    names: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    include_background: bool = False,
    delimiter: str = " ",
) -> LabelMap:
    """Make a label map of a list of class names, as SSD's create_label_map does.

    Args:
        names: text file of lines 'name', 'name label' or 'name label displayname', all lines alike; without labels the
            classes are numbered from 0, or after the background.
        out: prototxt to write.
        include_background: put none_of_the_above before the others as class 0.
        delimiter: characters that separate fields; none takes whole lines as names.

    Returns:
        What was written.

    Raises:
        LabelMapError: the list cannot be read, or a line has other fields than the first.
        WriteError: `out` cannot be written.

    >>> import caffecompat
    >>> caffecompat.create_label_map("names.txt", "labelmap.prototxt", include_background=True).display
    {0: 'background', 1: 'cat', 2: 'dog'}
    """
    path = os.fspath(names)
    made = pb.LabelMap()
    label, columns = 0, 0
    if include_background:
        made.item.add(name="none_of_the_above", label=0, display_name="background")
        label = 1
    for number, line in enumerate(read_text(path, "the class names", LabelMapError).splitlines(), 1):
        if not line.strip():
            continue
        fields = re.split("[" + re.escape(delimiter) + "]", line) if delimiter else [line]
        columns = columns or len(fields)
        if len(fields) != columns or columns > 3:
            raise LabelMapError(
                f"{path}:{number}: expected {min(columns, 3)} field(s) as in the first line, found {len(fields)}: "
                f"{line!r} (--delimiter {delimiter!r})"
            )
        label = _label(path, number, fields[1]) if columns > 1 else label
        made.item.add(name=fields[0], label=label, display_name=fields[2] if columns == 3 else fields[0])
        label += columns == 1
    with atomic_write(out) as file:
        file.write(write_text(made).encode())
    return LabelMap(
        {item.label: item.name for item in made.item}, {item.label: item.display_name for item in made.item}
    )


def _label(path: str, line: int, text: str) -> int:
    try:
        label = int(text)
        if not -(1 << 31) <= label < 1 << 31:
            raise ValueError
    except ValueError:
        raise LabelMapError(f"{path}:{line}: the label {text!r} is not a whole number of 32 bits") from None
    return label
