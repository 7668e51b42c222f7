"""Pictures that the command line names, in and out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from caffecompat.cli.common.flags import UsageError
from caffecompat.formats.atomic import atomic_write
from caffecompat.formats.picture import PICTURES, encode_picture

__all__ = ["PICTURES", "find_pictures", "save_png"]


def find_pictures(given: Sequence[str], kinds: Sequence[str] = PICTURES) -> list[tuple[str, str]]:
    """The files named, and those in the folders named.

    Args:
        kinds: the endings looked for in folders.

    Returns:
        (path, name without extension below an output folder); a folder's files keep their places in it, and names
        that come again get _2, _3, ...

    Raises:
        UsageError: a folder has none.
    """
    found: list[tuple[str, str]] = []
    for path in given:
        if not os.path.isdir(path):
            found.append((path, Path(path).stem))
            continue
        inside = sorted(file for file in Path(path).rglob("*") if file.suffix.lower() in kinds)
        if not inside:
            raise UsageError(f"the folder {path} holds no pictures ({' '.join(kinds)})")
        found += [(str(file), file.relative_to(path).with_suffix("").as_posix()) for file in inside]
    taken: set[str] = set()
    unique = []
    for path, stem in found:
        name, again = stem, 1
        while name in taken:
            again += 1
            name = f"{stem}_{again}"
        taken.add(name)
        unique.append((path, name))
    return unique


def save_png(path: str, picture: np.ndarray) -> None:
    """Write (H, W, C) uint8 as PNG."""
    with atomic_write(path) as file:
        file.write(encode_picture(picture, "png") or b"")
