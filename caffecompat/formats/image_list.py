"""The text lists of pictures: ``path label`` lines and ``picture label-picture`` lines."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar, overload

import numpy as np

from caffecompat.errors import CaffeCompatError
from caffecompat.formats.list_lines import (
    LINE_BLANKS,
    OTHER_BLANKS,
    ListEntries,
    ListLines,
    Look,
    LooksFine,
    is_any,
    read_lines,
)

__all__ = [
    "ListError",
    "ListedImage",
    "ListedPair",
    "PairedPaths",
    "lists_pairs",
    "open_image_list",
    "open_pair_list",
    "open_path_list",
    "read_image_list",
    "read_pair_list",
    "written_again",
]

_Entry = TypeVar("_Entry")


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


def open_image_list(path: str | os.PathLike[str]) -> ListEntries[ListedImage]:
    """``path label`` lines, split at the last blank, so paths may contain blanks (BVLC, SSD, ENet).

    Empty lines are passed over. Labels are integers of 32 bits. Entries are made when they are asked for, so that a
    list of millions is open at once.

    Raises:
        ListError: the file cannot be read, is empty, or lines lack an integer label; up to ten
            such lines are named with their numbers.
    """
    return _opened(path, _labeled, _looks_labeled, "path label", " with an integer label")


def read_image_list(path: str | os.PathLike[str]) -> list[ListedImage]:
    """All of `open_image_list`."""
    return list(open_image_list(path))


def open_pair_list(path: str | os.PathLike[str], *, labels: bool = True) -> ListEntries[ListedPair]:
    """``picture label-picture`` lines, separated by blanks (ImageSegData, DenseImageData).

    A path with blanks may be put in double quotes. Columns after the second are ignored, as Caffe ignores them. Entries
    are made when they are asked for, so that a list of millions is open at once.

    Args:
        labels: False also accepts lines of one column (ImageSegData with label_type NONE).

    Raises:
        ListError: the file cannot be read, is empty, or lines have too few columns.
    """
    return _opened(path, _paired if labels else _perhaps_paired, _looks_paired, "picture label-picture")


def read_pair_list(path: str | os.PathLike[str], *, labels: bool = True) -> list[ListedPair]:
    """All of `open_pair_list`."""
    return list(open_pair_list(path, labels=labels))


def open_path_list(path: str | os.PathLike[str]) -> Sequence[tuple[str, int]]:
    """Paths separated by blanks or line ends (ImageLabelListData): (path, line number).

    Raises:
        ListError: the file cannot be read or is empty.
    """
    lines = _lines(path)
    if not lines:
        raise ListError(f"{path} lists no file; expected a path a line")
    several, plain = lines.look(_looks_single)
    if several:
        return [(word, number) for number, line in lines for word in line.split()]
    return ListEntries(lines, lambda number, line: (line, number), plain)


class PairedPaths(Sequence[ListedPair]):
    """The paths of two lists, as `open_path_list` gives them, as pairs; both have as many."""

    def __init__(self, images: Sequence[tuple[str, int]], labels: Sequence[tuple[str, int]]) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    @overload
    def __getitem__(self, at: int) -> ListedPair: ...

    @overload
    def __getitem__(self, at: slice) -> list[ListedPair]: ...

    def __getitem__(self, at: int | slice) -> ListedPair | list[ListedPair]:
        if isinstance(at, slice):
            return [self[number] for number in range(*at.indices(len(self)))]
        path, line = self.images[at]
        return ListedPair(path, self.labels[at][0], line)


def written_again(entries: Sequence[ListedImage] | Sequence[ListedPair]) -> Iterator[str]:
    """Entries as lines of a list, two columns with a blank between; from the text itself where that has them so."""
    if isinstance(entries, ListEntries) and entries.plain:
        return entries.lines.texts()
    if isinstance(entries, PairedPaths):
        return map(" ".join, zip(_paths(entries.images), _paths(entries.labels), strict=True))
    return (f"{entry[0]} {entry[1]}" for entry in entries)


def _paths(entries: Sequence[tuple[str, int]]) -> Iterator[str]:
    if isinstance(entries, ListEntries) and entries.plain:
        return entries.lines.texts()
    return (path for path, _ in entries)


def _opened(
    path: str | os.PathLike[str], parse: Callable[[int, str], _Entry], look: Look, wanted: str, more: str = ""
) -> ListEntries[_Entry]:
    """The entries of a list; `parse` raises a ValueError for a line that is none."""
    lines = _lines(path)
    doubtful, plain = lines.look(look)
    wrong: list[str] = []
    for number, line in map(lines.__getitem__, doubtful):
        try:
            parse(number, line)
        except ValueError:
            wrong.append(f"{path}:{number}: expected {wanted!r}{more}, found {line!r}")
    _raise(wrong)
    if not lines:
        raise ListError(f"{path} lists no image; expected lines {wanted!r}")
    return ListEntries(lines, parse, plain)


def _labeled(number: int, line: str) -> ListedImage:
    path, text = line.rsplit(None, 1)
    label = int(text)
    if not -(1 << 31) <= label < 1 << 31:
        raise ValueError(label)
    return ListedImage(path, label, number)


def _looks_labeled(text: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> LooksFine:
    """A path, blanks and up to nine digits."""
    last = _last_of(text, starts, ends)
    at = last
    for _ in range(9):
        at = at - (is_any(text[at], b"0123456789") & (at > starts))
    first = text[np.minimum(at + 1, last)]
    minus = text[at] == ord("-")
    blank = at - minus
    fine = (at < last) & is_any(text[blank], LINE_BLANKS) & (blank > starts)
    before = text[np.maximum(blank - 1, 0)]
    plain = (last == ends - 1) & (text[blank] == ord(" ")) & (before > ord(" ")) & (before < 0x80)
    return LooksFine(fine, plain & ((first != ord("0")) | ((at + 1 == last) & ~minus)))


def _paired(number: int, line: str) -> ListedPair:
    image, label, *_ = _columns(line)
    return ListedPair(image, label, number)


def _perhaps_paired(number: int, line: str) -> ListedPair:
    image, *others = _columns(line)
    return ListedPair(image, others[0] if others else "", number)


def _looks_paired(text: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> LooksFine:
    """At least two columns, without quotes."""
    first, count, odd = _blanks_in(text, starts, ends)
    last = _last_of(text, starts, ends)
    fine = (first < last) & ~is_any(text[last], LINE_BLANKS) & ~odd
    return LooksFine(fine, (count == 1) & (text[np.minimum(first, last)] == ord(" ")) & (last == ends - 1))


def _looks_single(text: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> LooksFine:
    """One column."""
    first, count, odd = _blanks_in(text, starts, ends)
    return LooksFine((first > _last_of(text, starts, ends)) & ~odd, count == 0)


def _last_of(text: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The last bytes of lines, but for up to four blanks; further ones are still there."""
    last = ends - 1
    for _ in range(4):
        last = last - (is_any(text[last], LINE_BLANKS) & (last > starts))
    return last


def _blanks_in(text: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first blank of each line, or its end; how many it has; and whether it has quotes or blanks of other kinds."""
    origin = starts[0]
    part = text[origin : ends[-1]]
    blanks = np.flatnonzero(is_any(part, LINE_BLANKS)) + origin
    before, after = blanks.searchsorted(starts), blanks.searchsorted(ends)
    first = np.where(before < after, np.append(blanks, 0)[before], ends)
    others = np.flatnonzero(is_any(part, OTHER_BLANKS + b'"')) + origin
    others = others[text[others] != ord("\n")]
    odd = others.searchsorted(starts) < others.searchsorted(ends)
    return first, after - before, odd


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


def _lines(path: str | os.PathLike[str]) -> ListLines:
    """The lines that are not empty."""
    try:
        data = read_lines(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text file"
        raise ListError(f"cannot read the list {os.fspath(path)}: {reason}") from None
    if data[:1000].lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise ListError(f"{path} is a web page (HTML); expected a list of pictures: download the file itself")
    if b"\0" in data:
        raise ListError(f"{path} is not a text file; expected a list of pictures, one a line")
    return ListLines(data)


def _raise(wrong: list[str]) -> None:
    if wrong:
        more = f"\n... and {len(wrong) - 10} more lines" if len(wrong) > 10 else ""
        raise ListError("\n".join(wrong[:10]) + more)
