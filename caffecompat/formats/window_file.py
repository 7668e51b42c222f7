"""R-CNN window files: pictures, each with labeled windows (regions) and their overlap with an object."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from caffecompat.errors import CaffeCompatError
from caffecompat.files import read_text
from caffecompat.paths import with_slashes

__all__ = ["ListedPicture", "read_window_file"]

_PER_WINDOW = 6


class ListedPicture(NamedTuple):
    """One entry of a window file; `line` is where it begins.

    `windows` is (count, 6) float32: label, overlap with an object of that label, then the corners x1, y1, x2, y2 in
    pixels, both inclusive.
    """

    path: str
    line: int
    channels: int
    height: int
    width: int
    windows: np.ndarray


def read_window_file(path: str | os.PathLike[str]) -> list[ListedPicture]:
    """Read a window file.

    An entry is ``# INDEX``, the picture's path, its channels, height and width, the number of windows, and
    ``LABEL OVERLAP X1 Y1 X2 Y2`` for each; indices count from 0 (BVLC window_data_layer.cpp). As Caffe reads words,
    line breaks may be any blanks.

    Raises:
        CaffeCompatError: the file cannot be read or is not of that form; the message has file and line.
    """
    text = read_text(path, "the window file", errors="surrogateescape")
    if "\0" in text:
        raise CaffeCompatError(f"{path} is not a text file; expected a window file")
    lines = text.splitlines(keepends=True)
    pictures = list(_pictures(_Words(str(path), iter(lines))))
    if not pictures:
        raise CaffeCompatError(f"the window file {path} is empty")
    return pictures


def _pictures(words: _Words) -> Iterator[ListedPicture]:
    number = 0
    while words.left():
        mark = words.take("")
        if mark != "#":
            raise words.problem(f"expected '# {number}', the beginning of a picture's entry, found {mark!r}")
        line, index = words.line, words.integer("the picture's index")
        if index != number:
            raise words.problem(f"picture number {number} (from 0) has the index {index}")
        name = with_slashes(words.take("the picture's path"))
        channels, height, width = (words.integer(f"the picture's {what}") for what in ("channels", "height", "width"))
        count = words.integer("the number of windows")
        yield ListedPicture(name, line, channels, height, width, words.windows(count))
        number += 1


class _Words:
    """The words of a file, one after the other; `line` is that of the last one."""

    def __init__(self, path: str, lines: Iterator[str]) -> None:
        self._path = path
        self._lines = enumerate(lines, 1)
        self._waiting: list[str] = []  # of the present line, last one first
        self.line = 0

    def left(self) -> bool:
        """Whether there is another word."""
        while not self._waiting:
            self.line, line = next(self._lines, (self.line, ""))
            if not line:
                return False
            self._waiting = line.split()[::-1]
        return True

    def problem(self, text: str) -> CaffeCompatError:
        return CaffeCompatError(f"{self._path}:{self.line}: {text}")

    def take(self, what: str) -> str:
        if not self.left():
            raise self.problem(f"the file ends where {what} should follow")
        return self._waiting.pop()

    def integer(self, what: str) -> int:
        word = self.take(what)
        try:
            return int(word)
        except ValueError:
            raise self.problem(f"expected {what}, a whole number, found {word!r}") from None

    def windows(self, count: int) -> np.ndarray:
        """The next `count` windows; files have millions of them, so they are converted together."""
        words: list[str] = []
        while (lack := count * _PER_WINDOW - len(words)) > 0:
            words.append(self.take(f"a window (LABEL OVERLAP X1 Y1 X2 Y2; {count} are announced)"))
            rest = self._waiting[::-1]
            words += rest[: lack - 1]
            self._waiting = rest[lack - 1 :][::-1]
        try:
            windows = np.array(words, np.float32).reshape(count, _PER_WINDOW)
        except ValueError as error:
            raise self.problem(f"the {count} windows that end here are not all numbers: {error}") from None
        whole = windows[:, [0, 2, 3, 4, 5]]
        if (whole != np.floor(whole)).any():
            raise self.problem(f"of the {count} windows that end here some have a label or corner that is not whole")
        return windows
