"""Values of fields that are no blocks: numbers, strings, enum names, booleans."""

from __future__ import annotations

import math
from typing import Any

from caffecompat.schema import fields as f
from caffecompat.schema.cursor import OPENERS, Cursor
from caffecompat.schema.fields import Field
from caffecompat.schema.tokens import BROKEN_STRING, NAME, NUMBER, OTHER, PUNCTUATION, STRING, integer, real, unescape
from caffecompat.wording import nearest

__all__ = ["NoValue", "ValueReader"]

_TRUE, _FALSE = ("true", "True", "t"), ("false", "False", "f")
_NO_NUMBER = ("inf", "infinity", "nan")
_YES, _NO = ("yes", "on", "y"), ("no", "off", "n")
_UNQUOTED = " without quotes"


class NoValue(Exception):
    """What is there is no value of its field; the problem is noted, the reader is after it."""


class ValueReader(Cursor):
    """A cursor that reads values."""

    def value(self, entry: Field) -> Any:
        """Read one value of `entry`.

        Raises:
            NoValue: there is none.
        """
        kind, word, _ = self.tokens[self.i]
        what = entry.kind
        found: Any = None
        if what == f.STRING or what == f.BYTES:
            if kind == STRING:
                return self._string(entry)
        elif what == f.BOOL:
            if kind in (NAME, NUMBER):
                found = _boolean(word)
        elif what == f.ENUM:
            found = _enum_number(entry, kind, word)
        else:
            found = self._number(entry)
        if found is None:
            self.refuse(entry)
            raise NoValue
        self.i += 1
        return found

    def _number(self, entry: Field) -> int | float | None:
        """The number at the cursor, which moves to its last word, or None."""
        start = self.i
        negative = self.takes("-")
        kind, word, _ = self.tokens[self.i]
        found: int | float | None = None
        if kind == NUMBER:
            found = integer(word) if entry.kind == f.INT else real(word)
        elif kind == NAME and entry.kind == f.FLOAT and word.lower() in _NO_NUMBER:
            found = float(word)
        if found is not None and negative:
            found = -found
        if found is None or (entry.kind == f.INT and not entry.low <= found <= entry.high):
            self.i = start
            return None
        return found

    def _string(self, entry: Field) -> str | bytes:
        """Read adjacent strings as one; bytes that are no UTF-8 are taken for Latin-1."""
        parts = []
        while self.tokens[self.i][0] == STRING:
            _, word, at = self.tokens[self.i]
            data, bad = unescape(word)
            if bad >= 0:
                self.problem(at + bad, "unknown escape; a backslash itself is written \\\\, and paths may use /")
            parts.append(data)
            self.i += 1
        joined = b"".join(parts)
        if entry.kind == f.BYTES:
            return joined
        try:
            return joined.decode()
        except UnicodeDecodeError:
            return joined.decode("latin-1")

    def refuse(self, entry: Field) -> None:
        """Note the next word as no value of `entry`, and step after that value."""
        kind, word, at = self.tokens[self.i]
        if kind == BROKEN_STRING:
            self.problem(at, f"the string of {entry.name} is not closed on its line")
            self.i += 1
            return
        negative = kind == PUNCTUATION and word == "-"
        found = f"'-{self.tokens[self.i + 1][1]}'" if negative else self.shown()
        self.problem(at, f"{entry.name} takes {entry.wants()}, found {found}{_hint(entry, kind, word)}")
        if self.sees(OPENERS):
            self.skip_block()
        elif kind == OTHER:
            self.skip_line()
        elif kind in (NAME, NUMBER, STRING) or negative:
            self.i += 2 if negative and self.tokens[self.i + 1][0] in (NAME, NUMBER) else 1


def _hint(entry: Field, kind: int, word: str) -> str:
    """What to write instead, where that can be guessed."""
    if kind == OTHER and word == "$":
        return "; the text is a template, a script puts values in the place of its $NAMES"
    if entry.kind == f.STRING:
        return f'; write "{word}"' if kind == NAME else ""
    bare = word.strip("\"'").strip() if kind == STRING else word
    if entry.kind == f.ENUM and kind in (NAME, STRING):
        return _enum_hint(entry, kind, bare)
    if entry.kind == f.BOOL and kind in (NAME, STRING, NUMBER):
        meant = True if bare.lower() in _YES else False if bare.lower() in _NO else _boolean(bare.lower())
        return "" if meant is None else f"; write {str(meant).lower()}{_UNQUOTED if kind == STRING else ''}"
    if entry.kind in (f.INT, f.FLOAT) and kind in (STRING, NUMBER):
        number = real(bare.lstrip("+-")) if bare else None
        fits = number is not None and math.isfinite(number) and (entry.kind == f.FLOAT or number == int(number))
        if not fits or (kind == NUMBER and entry.kind == f.FLOAT):
            return ""
        assert number is not None
        sign = "-" if bare.startswith("-") else ""
        text = f"{sign}{int(number)}" if entry.kind == f.INT else bare
        return f"; write {text}{_UNQUOTED if kind == STRING else ''}"
    return ""


def _enum_hint(entry: Field, kind: int, bare: str) -> str:
    assert entry.enum is not None
    names = [value.name for value in entry.enum.values]
    if bare in names:
        return f"; write {bare}{_UNQUOTED}"
    near = nearest(bare, names)
    if entry.enum.full_name.endswith("V1LayerParameter.LayerType"):
        today = "; a type in quotes belongs to layer { ... }, not to layers { ... }" if kind == STRING else ""
        return f"{today}; here write {near} without quotes" if near and today else today or _meant(near)
    return _meant(near)


def _meant(near: str | None) -> str:
    return f"; did you mean {near}?" if near else ""


def _boolean(word: str) -> bool | None:
    if word in _TRUE or word == "1":
        return True
    return False if word in _FALSE or word == "0" else None


def _enum_number(entry: Field, kind: int, word: str) -> int | None:
    assert entry.enum is not None
    value = None
    if kind == NAME:
        value = entry.enum.values_by_name.get(word)
    elif kind == NUMBER:
        number = integer(word)
        value = None if number is None else entry.enum.values_by_number.get(number)
    return None if value is None else value.number
