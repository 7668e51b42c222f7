"""What is wrong with a prototxt, and where: places in a text, problems, and the error that carries them."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

from caffecompat.errors import CaffeCompatError

__all__ = ["Problem", "PrototxtError", "SourceLocations", "Text"]

_SHOWN = 20  # problems printed in full; the rest is counted
_LONG = 140  # characters of a line that are shown


class Text:
    """A prototxt's characters under the name that errors call it by."""

    def __init__(self, name: str, characters: str) -> None:
        self.name = name
        self.characters = characters
        self._line_starts: list[int] = []

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of a character, both counted from 1."""
        if not self._line_starts:
            starts = [0]
            at = self.characters.find("\n")
            while at >= 0:
                starts.append(at + 1)
                at = self.characters.find("\n", at + 1)
            self._line_starts = starts
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    def where(self, offset: int) -> str:
        """``name:line:column`` of a character."""
        line, column = self.position(offset)
        return f"{self.name}:{line}:{column}"


@dataclass(frozen=True)
class Problem:
    """One thing to fix. `line` and `column` count from 1; 0 is the file as a whole.

    `excerpt` is the line, or of a long one (generated files) the neighborhood, and `caret` the index in it.
    """

    name: str
    line: int
    column: int
    message: str
    excerpt: str = ""
    caret: int = 0

    @classmethod
    def at(cls, text: Text, offset: int, message: str) -> Problem:
        """A problem with the character at `offset`."""
        line, column = text.position(offset)
        start = offset - column + 1
        end = text.characters.find("\n", start)
        end = len(text.characters) if end < 0 else end
        if end - start > _LONG:
            start = max(start, offset - _LONG // 2)
            end = min(end, start + _LONG)
        return cls(text.name, line, column, message, text.characters[start:end].rstrip(), offset - start)

    @property
    def where(self) -> str:
        return f"{self.name}:{self.line}:{self.column}" if self.line else self.name

    def __str__(self) -> str:
        head = f"{self.where}: {self.message}"
        if not self.excerpt.strip():
            return head
        # Tabs stay tabs, so that the caret stands below its character however wide they are.
        blanks = "".join(c if c == "\t" else " " for c in self.excerpt[: self.caret])
        return f"{head}\n    {self.excerpt}\n    {blanks}^"


class PrototxtError(CaffeCompatError):
    """A prototxt cannot be read; the message lists every problem with its place.

    Attributes:
        problems: the same, one object each, in the order of the file.
    """

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        lines = [str(problem) for problem in problems[:_SHOWN]]
        if len(problems) > _SHOWN:
            lines.append(f"... and {len(problems) - _SHOWN} more problems")
        super().__init__("\n".join(lines))


class SourceLocations:
    """Where the fields of the outermost message are in its text; a message made in memory has a name only."""

    def __init__(self, name: str, text: Text | None = None, offsets: dict[str, list[int]] | None = None) -> None:
        self.name = name
        self._text = text
        self._offsets = offsets or {}

    def where(self, field: str, index: int = 0) -> str:
        """``file:line:column`` of an entry of a field, or the name alone where that is not known."""
        offset = self._offset(field, index)
        return self.name if self._text is None or offset is None else self._text.where(offset)

    def problem(self, field: str, index: int, message: str) -> Problem:
        """A problem with an entry of a field."""
        offset = self._offset(field, index)
        if self._text is None or offset is None:
            return Problem(self.name, 0, 0, message)
        return Problem.at(self._text, offset, message)

    def problem_inside(self, field: str, index: int, word: str, message: str) -> Problem:
        """A problem with the first `word`, the name of an inner field, inside an entry of a field."""
        offset = self._offset(field, index)
        if self._text is None or offset is None:
            return Problem(self.name, 0, 0, message)
        for found in re.compile(rf"#[^\n]*|\b{re.escape(word)}\b").finditer(self._text.characters, offset):
            if not found[0].startswith("#"):
                return Problem.at(self._text, found.start(), message)
        return Problem.at(self._text, offset, message)

    def _offset(self, field: str, index: int) -> int | None:
        offsets = self._offsets.get(field, [])
        return offsets[index] if 0 <= index < len(offsets) else None
