"""The lines of a list, taken apart one by one when they are asked for.

A million paths as objects take half a gigabyte, and seconds to make. The text of the file takes a tenth of that and the
places of its lines 8 bytes each; NumPy finds these, and which lines look as they should, in a fraction of a second.
The few others are looked at by themselves.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar, overload

import numpy as np

from caffecompat.files import decode_text, is_utf16, read_whole
from caffecompat.paths import with_slashes

__all__ = ["LINE_BLANKS", "OTHER_BLANKS", "ListEntries", "ListLines", "Look", "LooksFine", "is_any", "read_lines"]

_T = TypeVar("_T")

LINE_BLANKS = b" \t"
OTHER_BLANKS = b"\n\v\f\r\x1c\x1d\x1e\x1f\xc2\xe1\xe2\xe3"  # the last four begin blanks in UTF-8, as U+00A0, U+3000
_BYTES = 1 << 22  # looked at at once
_LINES = 1 << 16


class LooksFine(NamedTuple):
    """Which of some lines are surely as they should be, and which of these are written as they would be again."""

    fine: np.ndarray
    plain: np.ndarray


Look = Callable[[np.ndarray, np.ndarray, np.ndarray], LooksFine]
"""From a file's bytes, and the places where lines begin and end."""


class ListLines(Sequence[tuple[int, str]]):
    """The lines that are not empty, stripped, with their numbers from 1 on; Windows backslashes become slashes.

    Args:
        data: the text in UTF-8, lines ending in a line feed.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._slashes = b"\\" in data
        ends = self._ends()
        starts = np.zeros_like(ends)
        starts[1:] = ends[:-1] + 1
        view = np.frombuffer(data, np.uint8)
        doubtful = (starts == ends) | is_any(view[starts], LINE_BLANKS + OTHER_BLANKS)
        empty = [at for at in np.flatnonzero(doubtful).tolist() if not self._stripped(starts[at], ends[at])]
        self._starts, self._stops = starts, ends
        self._numbers = np.arange(1, len(starts) + 1, dtype=np.uint32)
        if empty:
            self._starts, self._stops, self._numbers = (
                np.delete(one, empty) for one in (self._starts, self._stops, self._numbers)
            )
        self._irregular = bool(doubtful.any()) or self._slashes

    def _ends(self) -> np.ndarray:
        """Where lines end; an empty text has none."""
        size = len(self._data)
        kind = np.uint32 if size < 1 << 32 else np.int64
        view = np.frombuffer(self._data, np.uint8)
        parts = [
            (np.flatnonzero(view[start : start + _BYTES] == ord("\n")) + start).astype(kind)
            for start in range(0, size, _BYTES)
        ]
        if size and not self._data.endswith(b"\n"):
            parts.append(np.array([size], kind))
        return np.concatenate(parts) if parts else np.empty(0, kind)

    def _stripped(self, start: int, end: int) -> str:
        line = self._data[start:end].decode("utf-8", "surrogateescape").strip()
        return with_slashes(line) if self._slashes else line

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, at: int) -> tuple[int, str]: ...

    @overload
    def __getitem__(self, at: slice) -> list[tuple[int, str]]: ...

    def __getitem__(self, at: int | slice) -> tuple[int, str] | list[tuple[int, str]]:
        if isinstance(at, slice):
            return [self[number] for number in range(*at.indices(len(self)))]
        return int(self._numbers[at]), self._stripped(self._starts[at], self._stops[at])

    def look(self, look: Look) -> tuple[list[int], bool]:
        """The places of lines that do not surely look fine; and whether the text is what one would write again."""
        view = np.frombuffer(self._data, np.uint8)
        doubtful: list[int] = []
        plain = not self._irregular
        for first in range(0, len(self), _LINES):
            starts, ends = (part[first : first + _LINES].astype(np.int64) for part in (self._starts, self._stops))
            found = look(view, starts, ends)
            fine = found.fine & ~is_any(view[starts], LINE_BLANKS + OTHER_BLANKS)
            doubtful += (np.flatnonzero(~fine) + first).tolist()
            plain = plain and bool((fine & found.plain).all())
        return doubtful, plain

    def texts(self) -> Iterator[str]:
        """All lines, which must be plain, cut out of the text many at once."""
        for first in range(0, len(self), _LINES):
            last = min(first + _LINES, len(self)) - 1
            part = self._data[self._starts[first] : self._stops[last]]
            yield from part.decode("utf-8", "surrogateescape").split("\n")


class ListEntries(Sequence[_T], Generic[_T]):
    """What the lines of a list say.

    Attributes:
        plain: whether each line is written as one would write its entry again.
        lines: of the list.

    Args:
        parse: makes an entry of a line's number and text.
    """

    def __init__(self, lines: ListLines, parse: Callable[[int, str], _T], plain: bool) -> None:
        self.lines, self.plain = lines, plain
        self._parse = parse

    def __len__(self) -> int:
        return len(self.lines)

    @overload
    def __getitem__(self, at: int) -> _T: ...

    @overload
    def __getitem__(self, at: slice) -> list[_T]: ...

    def __getitem__(self, at: int | slice) -> _T | list[_T]:
        if isinstance(at, slice):
            return [self[number] for number in range(*at.indices(len(self)))]
        return self._parse(*self.lines[at])


def read_lines(path: str | os.PathLike[str]) -> bytes:
    """A text file in UTF-8 or UTF-16 as UTF-8 with line feeds; bytes that are no UTF-8 stay.

    Raises:
        OSError, ValueError: it cannot be read (`read_whole`).
    """
    data = read_whole(path)
    if is_utf16(data) or b"\r" in data or data.startswith(b"\xef\xbb\xbf"):
        return decode_text(data, "surrogateescape").encode("utf-8", "surrogateescape")
    return data


def is_any(values: np.ndarray, wanted: bytes) -> np.ndarray:
    """Which bytes are one of a few."""
    table = np.zeros(256, bool)
    table[list(wanted)] = True
    found: np.ndarray = table[values]
    return found
