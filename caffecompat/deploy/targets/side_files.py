"""Files that a target's tools want next to the ONNX model."""

from __future__ import annotations

from dataclasses import dataclass, field

from caffecompat.formats.atomic import atomic_write

__all__ = ["SideFiles", "write_file"]


@dataclass
class SideFiles:
    """What was written.

    Attributes:
        paths: of the files.
        notes: what to report of them.
    """

    paths: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def write_file(path: str, text: str) -> str:
    """Write a text file; returns its path.

    Raises:
        WriteError: it cannot be written.
    """
    with atomic_write(path) as file:
        file.write(text.encode())
    return path
