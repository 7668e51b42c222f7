"""The text lists of pictures: ``path label`` lines and ``picture label-picture`` lines."""

from __future__ import annotations

import os
from typing import NamedTuple

from caffecompat.errors import CaffeCompatError
from caffecompat.files import read_text
from caffecompat.paths import with_slashes

__all__ = [
    "ListError",
    "ListedImage",
    "ListedPair",
    "lists_pairs",
    "read_image_list",
    "read_pair_list",
    "read_path_list",
]


class ListError(CaffeCompatError):
    """A list that cannot be read, or lines in it that make no sense."""


class ListedImage(NamedTuple):
    """One line of an image list; `line` counts from 1."""

    path: str
    label: int
    line: int


class ListedPair(NamedTuple):
    """One line of a segmentation list; `label` is "" where the line has one column."""

    image: str
    label: str
    line: int


def read_image_list(path: str | os.PathLike[str]) -> list[ListedImage]:
    """Read ``path label`` lines, split at the last blank, so paths may contain blanks (BVLC, SSD, ENet).

    Empty lines are passed over. Labels are integers of 32 bits.

    Raises:
        ListError: the file cannot be read, is empty, or lines lack an integer label; up to ten
            such lines are named with their numbers.
    """
    entries: list[ListedImage] = []
    wrong: list[str] = []
    for number, line in _lines(path):
        words = line.rsplit(None, 1)
        try:
            label = int(words[1])
            if not -(1 << 31) <= label < 1 << 31:
                raise ValueError
        except (IndexError, ValueError):
            wrong.append(f"{path}:{number}: expected 'path label' with an integer label, found {line!r}")
            continue
        entries.append(ListedImage(words[0], label, number))
    _raise(wrong)
    if not entries:
        raise ListError(f"{path} lists no image; expected lines 'path label'")
    return entries


def read_pair_list(path: str | os.PathLike[str], *, labels: bool = True) -> list[ListedPair]:
    """Read ``picture label-picture`` lines, separated by blanks (ImageSegData, DenseImageData).

    A path with blanks may be put in double quotes. Columns after the second are ignored, as Caffe ignores them.

    Args:
        labels: False also accepts lines of one column (ImageSegData with label_type NONE).

    Raises:
        ListError: the file cannot be read, is empty, or lines have too few columns.
    """
    entries: list[ListedPair] = []
    wrong: list[str] = []
    for number, line in _lines(path):
        words = _columns(line)
        if len(words) < (2 if labels else 1):
            wrong.append(f"{path}:{number}: expected 'picture label-picture', found {line!r}")
            continue
        entries.append(ListedPair(words[0], words[1] if len(words) > 1 else "", number))
    _raise(wrong)
    if not entries:
        raise ListError(f"{path} lists no image; expected lines 'picture label-picture'")
    return entries


def read_path_list(path: str | os.PathLike[str]) -> list[tuple[str, int]]:
    """Read paths separated by blanks or line ends (ImageLabelListData): (path, line number).

    Raises:
        ListError: the file cannot be read or is empty.
    """
    entries = [(word, number) for number, line in _lines(path) for word in line.split()]
    if not entries:
        raise ListError(f"{path} lists no file; expected a path a line")
    return entries


def lists_pairs(path: str | os.PathLike[str]) -> bool:
    """Whether the list's first line holds two pictures rather than a picture and an integer label."""
    for _, line in _lines(path):
        words = line.rsplit(None, 1)
        return len(words) == 2 and not words[1].lstrip("-").isdecimal()
    return False


def _columns(line: str) -> list[str]:
    if '"' not in line:
        return line.split()
    words: list[str] = []
    while line := line.lstrip():
        if line.startswith('"') and '"' in line[1:]:
            word, line = line[1:].split('"', 1)
        else:
            word, _, line = line.partition(" ")
        words.append(word)
    return words


def _lines(path: str | os.PathLike[str]) -> list[tuple[int, str]]:
    """The lines that are not empty, stripped, with their numbers; Windows backslashes become slashes."""
    text = read_text(path, "the list", ListError, errors="surrogateescape")
    if text[:1000].lstrip().lower().startswith(("<!doctype", "<html")):
        raise ListError(f"{path} is a web page (HTML); expected a list of pictures: download the file itself")
    if "\0" in text:
        raise ListError(f"{path} is not a text file; expected a list of pictures, one a line")
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    return [(number, with_slashes(line)) for number, line in lines] if "\\" in text else lines


def _raise(wrong: list[str]) -> None:
    if wrong:
        more = f"\n... and {len(wrong) - 10} more lines" if len(wrong) > 10 else ""
        raise ListError("\n".join(wrong[:10]) + more)
