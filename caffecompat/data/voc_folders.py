"""Where Pascal VOC's years lie in a folder: VOCdevkit/VOC2007, VOCdevkit/VOC2012, or one of them itself."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["voc_folders"]


def voc_folders(folder: str | os.PathLike[str], *needed: str) -> list[Path]:
    """The years of a folder, sorted by name: those that have the folders needed.

    Args:
        folder: a year itself, a folder of years (VOCdevkit), or one that holds a VOCdevkit.
        needed: such as "Annotations" and "JPEGImages".
    """
    base = Path(folder)
    for candidates in ([base], _folders(base), _folders(base / "VOCdevkit")):
        found = [path for path in candidates if all((path / name).is_dir() for name in needed)]
        if found:
            return found
    return []


def _folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
