"""Pictures that the command line names, in and out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from caffecompat.cli.common.flags import UsageError
from caffecompat.errors import CaffeCompatError
from caffecompat.files import read_bytes
from caffecompat.formats.atomic import atomic_write
from caffecompat.formats.picture import PictureError, decode_picture, encode_picture
from caffecompat.formats.picture_header import is_cut_off

__all__ = ["PICTURES", "find_pictures", "grey", "read_picture_file", "save_png"]

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")


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


def read_picture_file(path: str) -> np.ndarray:
    """A picture file as (H, W, 3) uint8, BGR.

    Raises:
        CaffeCompatError: it cannot be read.
    """
    data = read_bytes(path)
    try:
        picture = decode_picture(data)
    except PictureError as problem:
        raise CaffeCompatError(f"{path}: {problem}") from None
    if picture is None:
        raise CaffeCompatError(f"{path} is not a picture that OpenCV can decode ({len(data)} bytes)")
    if is_cut_off(data):
        raise CaffeCompatError(f"{path} is cut off: the picture's end is missing after {len(data)} bytes")
    return picture


def grey(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) as (H, W, 1)."""
    return cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)[:, :, None]


def save_png(path: str, picture: np.ndarray) -> None:
    """Write (H, W, C) uint8 as PNG."""
    with atomic_write(path) as file:
        file.write(encode_picture(picture, "png") or b"")
