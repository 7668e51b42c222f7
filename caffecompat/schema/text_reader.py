"""From prototxt text to a message: protobuf's text format with all its liberties, and every problem at once.

The rules are those of C++ ``TextFormat`` (which Caffe uses), read a little more generously: see ``parse_text``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from google.protobuf.message import Message

from caffecompat import glog
from caffecompat.schema import fields as f
from caffecompat.schema.fields import Field, Table, table_of
from caffecompat.schema.kept import keep_text
from caffecompat.schema.names import explain_unknown, nearest
from caffecompat.schema.problems import Problem, PrototxtError, Text
from caffecompat.schema.tokens import (
    BROKEN_STRING,
    END,
    NAME,
    NUMBER,
    OTHER,
    PUNCTUATION,
    STRING,
    Token,
    tokenize,
    unescape,
)

__all__ = ["Reading", "parse_text", "read_text"]

AnyMessage = TypeVar("AnyMessage", bound=Message)

_CLOSER = {"{": "}", "<": ">", "[": "]"}
_TRUE, _FALSE = ("true", "True", "t"), ("false", "False", "f")
_DEEPEST = 100  # nested blocks; protobuf's own limit


@dataclass
class Reading:
    """What reading a text brought besides the message.

    Attributes:
        places: for each field of the outermost message, where its entries begin (offsets), in order.
        unknown: unknown fields that were kept, as problems to warn of.
        problems: what keeps the text from being accepted.
    """

    places: dict[str, list[int]] = field(default_factory=dict)
    unknown: list[Problem] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    unknown_at_top: list[str] = field(default_factory=list)


def parse_text(text: str, message: AnyMessage, name: str = "<text>", strict: bool = False) -> AnyMessage:
    """Read protobuf text format into `message` (fields are added to those it has) and return it.

    Accepted as in C++: fields in any order, ``:`` optional before a block, ``< >`` for ``{ }``, ``[a, b]`` for
    repeated fields, enum values by name or number, ``#`` comments, both quotes with C escapes, adjacent strings
    joined, ``;`` or ``,`` behind a value, ``inf``, ``nan``, ``1.``, ``.5``, ``1e-05f``, ``t``/``f``/``0``/``1``.

    A field unknown to the schema is kept as text (``write_text`` prints it again) with one warning, unless it is
    plainly a misspelling of a field of its message: that is an error, as every unknown field is under `strict`.

    Raises:
        PrototxtError: all problems of the text, each with `name`, line, column and the nearest valid name.
    """
    reading = read_text(Text(name, text), message, strict)
    if reading.problems:
        raise PrototxtError(reading.problems)
    warn(reading)
    return message


def warn(reading: Reading) -> None:
    """Log one warning for each unknown field that was kept."""
    for problem in reading.unknown:
        glog.warning(f"{problem.where}: {problem.message}", "text_format.cc:307")


def read_text(text: Text, message: Message, strict: bool = False) -> Reading:
    """Read `text` into `message` and tell what was found; never raises for what the text says."""
    return _Reader(text, strict).read(message)


@dataclass
class _Frame:
    """An open block: its field's name and place, where its bracket opens, and the table of the message around it."""

    name: str
    at: int
    bracket: int
    outside: Table


class _Bad(Exception):
    """A value is no value of its field; the problem is reported, the reader stands behind the value."""


class _Reader:
    def __init__(self, text: Text, strict: bool) -> None:
        self.text = text
        self.strict = strict
        self.tokens: list[Token] = tokenize(text)
        self.i = 0
        self.frames: list[_Frame] = []
        self.unwinding = 0  # blocks still to leave because a closing bracket is missing
        self.reading = Reading()

    def read(self, message: Message) -> Reading:
        self._fields(message, table_of(message.DESCRIPTOR), "")
        self.reading.problems.sort(key=lambda problem: (problem.line, problem.column))
        return self.reading

    # Blocks

    def _fields(self, message: Message, table: Table, closer: str) -> None:
        """Read fields up to and including `closer` (the end of the text for "")."""
        tokens, known = self.tokens, table.fields
        seen: dict[str, int] = {}
        outermost = not closer
        while True:
            kind, word, at = tokens[self.i]
            if kind != NAME:
                if kind == PUNCTUATION and word == closer:
                    self.i += 1
                    return
                if self._no_name(closer):
                    return
                continue
            entry = known.get(word)
            if entry is None:
                if self._belongs_outside(word, at):
                    return
                self._unknown(message, table)
            else:
                self.i += 1
                if outermost:
                    self.reading.places.setdefault(word, []).append(at)
                if not entry.repeated:
                    if word in seen:
                        first = "%d:%d" % self.text.position(seen[word])
                        self._problem(
                            at, f"{word} is given twice (first at {first}), but {self._title(table)} has only one"
                        )
                    else:
                        seen[word] = at
                self._field(message, table, entry, at)
                if self.unwinding:
                    return
            if tokens[self.i][1] in (";", ",") and tokens[self.i][0] == PUNCTUATION:
                self.i += 1

    def _no_name(self, closer: str) -> bool:
        """Deal with a word where a field's name should be; True ends the block."""
        kind, word, at = self.tokens[self.i]
        if kind == END:
            if closer and not self.unwinding:
                self._unclosed()
            return True
        if kind == PUNCTUATION and word in "}>]":
            self.i += 1
            if closer:
                opened = self.text.position(self.frames[-1].bracket)
                self._problem(
                    at, f"expected '{closer}' for the bracket opened at {opened[0]}:{opened[1]}, found '{word}'"
                )
                return True
            self._problem(at, f"'{word}' closes nothing: no block is open here")
            return False
        self._problem(at, f"expected a field name, found {self._shown(kind, word)}")
        self._skip_line()
        return False

    def _unclosed(self) -> None:
        end = self.tokens[-1][2]
        names = ", ".join(f"{frame.name} at {'%d:%d' % self.text.position(frame.bracket)}" for frame in self.frames)
        count = len(self.frames)
        what = "a block is" if count == 1 else f"{count} blocks are"
        self._problem(min(end, len(self.text.characters.rstrip())), f"the text ends, but {what} still open: {names}")
        self.unwinding = count

    def _belongs_outside(self, word: str, at: int) -> bool:
        """Whether an unknown name is a field of a block around this one, and its indent says that it stands there.

        Then a closing bracket is missing. It is reported, and reading goes on as if it were there.
        """
        line, column = self.text.position(at)
        for depth, frame in enumerate(reversed(self.frames), 1):
            frame_line, frame_column = self.text.position(frame.at)
            if word in frame.outside.fields and column <= frame_column and line > frame_line:
                inner = self.frames[-1]
                opened = "%d:%d" % self.text.position(inner.bracket)
                self._problem(
                    at, f"a closing bracket is missing before '{word}': {inner.name} opened at {opened} is still open"
                )
                self.unwinding = depth
                return True
        return False

    def _block(self, message: Message, entry: Field, at: int, outside: Table) -> None:
        """Read the block whose opening bracket is the next word into `message`."""
        _, word, bracket = self.tokens[self.i]
        self.i += 1
        assert entry.message is not None
        if len(self.frames) >= _DEEPEST:
            self._problem(at, f"blocks are nested more than {_DEEPEST} deep")
            self.i -= 1
            self._skip_block()
            return
        self.frames.append(_Frame(entry.name, at, bracket, outside))
        self._fields(message, table_of(entry.message), _CLOSER[word])
        self.frames.pop()
        if self.unwinding:
            self.unwinding -= 1

    # Fields

    def _field(self, message: Any, table: Table, entry: Field, at: int) -> None:
        """Read what follows a field's name into `message`."""
        kind, word, where = self.tokens[self.i]
        colon = word == ":" and kind == PUNCTUATION
        if colon:
            self.i += 1
            kind, word, where = self.tokens[self.i]
        if entry.kind == f.MESSAGE:
            if kind == PUNCTUATION and word in "{<":
                self._enter(message, entry, at, table)
            elif kind == PUNCTUATION and word == "[" and entry.repeated:
                self._list(entry, lambda: self._list_block(message, entry, table))
            else:
                self._wrong(entry)
            return
        if not colon:
            if kind == PUNCTUATION and word in "{<":
                self._wrong(entry)
                return
            self._problem(where if kind != END else at, f"expected ':' between {entry.name} and its value")
            if self.text.position(where)[0] != self.text.position(at)[0]:
                return
        with suppress(_Bad):
            if entry.repeated:
                add = getattr(message, entry.name).append
                if word == "[" and kind == PUNCTUATION:
                    self._list(entry, lambda: add(self._value(entry)))
                else:
                    add(self._value(entry))
            else:
                setattr(message, entry.name, self._value(entry))

    def _enter(self, message: Any, entry: Field, at: int, table: Table) -> None:
        target = getattr(message, entry.name)
        if entry.repeated:
            target = target.add()
        else:
            target.SetInParent()  # an empty block is present, too
        self._block(target, entry, at, table)

    def _list_block(self, message: Any, entry: Field, table: Table) -> None:
        kind, word, at = self.tokens[self.i]
        if kind == PUNCTUATION and word in "{<":
            self._enter(message, entry, at, table)
        else:
            self._wrong(entry)

    def _list(self, entry: Field, read_one: Callable[[], None]) -> None:
        """Read ``[a, b]``; the next word is its opening bracket."""
        opened = self.tokens[self.i][2]
        self.i += 1
        while not self.unwinding:
            kind, word, at = self.tokens[self.i]
            if kind == PUNCTUATION and word == "]":
                self.i += 1
                return
            if kind == END or (kind == PUNCTUATION and word in "}>"):
                where = "%d:%d" % self.text.position(opened)
                self._problem(
                    min(at, len(self.text.characters)),
                    f"the list of {entry.name} opened at {where} is not closed by ']'",
                )
                return
            with suppress(_Bad):
                read_one()
            kind, word, at = self.tokens[self.i]
            if kind == PUNCTUATION and word == ",":
                self.i += 1
            elif not (kind == END or (kind == PUNCTUATION and word in "]}>")):
                self._problem(at, f"expected ',' or ']' in the list of {entry.name}, found {self._shown(kind, word)}")
                self._skip_line()
                return

    # Values

    def _value(self, entry: Field) -> Any:
        """Read one value of a field that is no block.

        Raises:
            _Bad: it is none; the problem is noted and the reader stands behind it.
        """
        kind, word, _ = self.tokens[self.i]
        what = entry.kind
        if kind == NUMBER and (what == f.INT or what == f.FLOAT):
            value = _integer(word) if what == f.INT else _real(word)
            if value is not None and (what == f.FLOAT or entry.low <= value <= entry.high):
                self.i += 1
                return value
        elif kind == STRING and (what == f.STRING or what == f.BYTES):
            return self._string(entry)
        elif what == f.BOOL:
            if (kind == NAME and word in _TRUE) or (kind == NUMBER and word == "1"):
                self.i += 1
                return True
            if (kind == NAME and word in _FALSE) or (kind == NUMBER and word == "0"):
                self.i += 1
                return False
        elif what == f.ENUM:
            number = _enum_number(entry, kind, word)
            if number is not None:
                self.i += 1
                return number
        elif kind == NAME and what == f.FLOAT and word.lower() in ("inf", "infinity", "nan"):
            self.i += 1
            return float(word)
        elif kind == PUNCTUATION and word == "-":
            return self._negative(entry)
        self._wrong(entry)
        raise _Bad

    def _negative(self, entry: Field) -> Any:
        minus = self.i
        self.i += 1
        kind, word, _ = self.tokens[self.i]
        value: Any = None
        if kind == NUMBER and entry.kind == f.INT:
            value = _integer(word)
            if value is not None and -value < entry.low:
                value = None
        elif kind == NUMBER and entry.kind == f.FLOAT:
            value = _real(word)
        elif kind == NAME and entry.kind == f.FLOAT and word.lower() in ("inf", "infinity", "nan"):
            value = float(word)
        if value is None:
            self.i = minus
            self._wrong(entry)
            raise _Bad
        self.i += 1
        return -value

    def _string(self, entry: Field) -> str | bytes:
        parts = []
        while True:
            kind, word, at = self.tokens[self.i]
            if kind != STRING:
                break
            data, bad = unescape(word)
            if bad >= 0:
                self._problem(at + bad, "unknown escape; a backslash itself is written \\\\, and paths may use /")
            parts.append(data)
            self.i += 1
        joined = b"".join(parts)
        if entry.kind == f.BYTES:
            return joined
        try:
            return joined.decode()
        except UnicodeDecodeError:
            return joined.decode("latin-1")

    # Unknown fields

    def _unknown(self, message: Message, table: Table) -> None:
        """Read a field that the schema does not know, by its looks alone; keep or refuse it."""
        _, word, at = self.tokens[self.i]
        before = len(self.reading.problems)
        lines: list[str] = []
        self._loose_field(lines, "", 0)
        if len(self.reading.problems) > before:
            return
        title = self._title(table)
        if not self.frames:
            self.reading.unknown_at_top.append(word)
        found = explain_unknown(table, word)
        text = f"{title} has no field '{word}'{found.hint}"
        if found.misspelt or self.strict:
            self._problem(at, text)
        else:
            keep_text(message, "\n".join(lines))
            self.reading.unknown.append(Problem.at(self.text, at, f"{text}; kept as it is, without effect"))

    def _loose_field(self, lines: list[str], indent: str, depth: int) -> None:
        """Read a field of unknown type; its text, evenly laid out, goes to `lines`."""
        _, name, at = self.tokens[self.i]
        self.i += 1
        kind, word, where = self.tokens[self.i]
        colon = kind == PUNCTUATION and word == ":"
        if colon:
            self.i += 1
            kind, word, where = self.tokens[self.i]
        if kind == PUNCTUATION and word in "{<":
            self._loose_block(name, lines, indent, depth)
        elif kind == PUNCTUATION and word == "[":
            self._loose_list(name, lines, indent, depth)
        elif not colon or not self._loose_scalar(name, lines, indent):
            expected = "a value" if colon else "':' or '{'"
            self._problem(
                where if kind != END else at, f"expected {expected} after {name}, found {self._shown(kind, word)}"
            )
            if self.text.position(where)[0] == self.text.position(at)[0]:
                self._skip_line()

    def _loose_scalar(self, name: str, lines: list[str], indent: str) -> bool:
        kind, word, _ = self.tokens[self.i]
        sign = ""
        if kind == PUNCTUATION and word == "-":
            sign = "-"
            kind, word, _ = self.tokens[self.i + 1]
        if kind in (NAME, NUMBER):
            self.i += 2 if sign else 1
            lines.append(f"{indent}{name}: {sign}{word}")
            return True
        if kind != STRING or sign:
            return False
        parts = []
        while self.tokens[self.i][0] == STRING:
            parts.append(self.tokens[self.i][1])
            self.i += 1
        lines.append(f"{indent}{name}: {' '.join(parts)}")
        return True

    def _loose_block(self, name: str, lines: list[str], indent: str, depth: int) -> None:
        _, word, bracket = self.tokens[self.i]
        if depth + len(self.frames) >= _DEEPEST:
            self._problem(bracket, f"blocks are nested more than {_DEEPEST} deep")
            self._skip_block()
            return
        closer = _CLOSER[word]
        self.i += 1
        lines.append(f"{indent}{name} {{")
        while True:
            kind, word, at = self.tokens[self.i]
            if kind == NAME:
                self._loose_field(lines, indent + "  ", depth + 1)
            elif kind == PUNCTUATION and word in ";,":
                self.i += 1
            elif kind == PUNCTUATION and word == closer:
                self.i += 1
                lines.append(indent + "}")
                return
            else:
                opened = "%d:%d" % self.text.position(bracket)
                found = self._shown(kind, word)
                self._problem(
                    at if kind != END else bracket,
                    f"expected a field or '{closer}' in {name} opened at {opened}, found {found}",
                )
                self.i = self.i if kind == END else self.i + 1
                return

    def _loose_list(self, name: str, lines: list[str], indent: str, depth: int) -> None:
        opened = self.tokens[self.i][2]
        self.i += 1
        count = 0
        while True:
            kind, word, at = self.tokens[self.i]
            if kind == PUNCTUATION and word == "]":
                self.i += 1
                if not count:
                    lines.append(f"{indent}{name}: []")
                return
            if kind == PUNCTUATION and word == ",":
                self.i += 1
            elif kind == PUNCTUATION and word in "{<":
                self._loose_block(name, lines, indent, depth)
                count += 1
            elif self._loose_scalar(name, lines, indent):
                count += 1
            else:
                where = "%d:%d" % self.text.position(opened)
                self._problem(
                    at if kind != END else opened, f"the list of {name} opened at {where} is not closed by ']'"
                )
                return

    # Problems

    def _problem(self, at: int, message: str) -> None:
        self.reading.problems.append(Problem.at(self.text, at, message))

    def _title(self, table: Table) -> str:
        """What the user calls the block being read."""
        return self.frames[-1].name if self.frames else table.name

    @staticmethod
    def _shown(kind: int, word: str) -> str:
        if kind == END:
            return "the end of the text"
        if word in ("“", "”", "‘", "’"):
            return f"the typographic quote {word} (write \" or ')"
        return word if kind == STRING else f"'{word}'"

    def _wrong(self, entry: Field) -> None:
        """Report the next word as no value of `entry`, and step behind that value."""
        kind, word, at = self.tokens[self.i]
        if kind == BROKEN_STRING:
            self._problem(at, f"the string of {entry.name} is not closed on its line")
            self.i += 1
            return
        sign = "-" if kind == PUNCTUATION and word == "-" else ""
        found = self._shown(kind, word)
        if sign:
            found = f"'-{self.tokens[self.i + 1][1]}'"
        hint = ""
        if kind in (NAME, STRING) and entry.kind == f.ENUM:
            assert entry.enum is not None
            near = nearest(word.strip("\"'"), [value.name for value in entry.enum.values])
            hint = f"; did you mean {near}?" if near else ""
        elif kind == NAME and entry.kind == f.STRING:
            hint = f'; write "{word}"'
        self._problem(min(at, len(self.text.characters)), f"{entry.name} takes {entry.wants()}, found {found}{hint}")
        if kind == PUNCTUATION and word in "{<[":
            self._skip_block()
        elif kind in (NAME, NUMBER, STRING, OTHER) or sign:
            self.i += 2 if sign and self.tokens[self.i + 1][0] in (NAME, NUMBER) else 1
            if kind == OTHER:
                self._skip_line()

    def _skip_line(self) -> None:
        """Step over words to the end of this line or a closing bracket; over at least one, and over whole blocks."""
        line_end = self.text.characters.find("\n", self.tokens[self.i][2])
        first = True
        while self.tokens[self.i][0] != END:
            kind, word, at = self.tokens[self.i]
            if not first and ((line_end >= 0 and at > line_end) or (kind == PUNCTUATION and word in "}>];")):
                return
            if kind == PUNCTUATION and word in "{<[":
                self._skip_block()
            else:
                self.i += 1
            first = False

    def _skip_block(self) -> None:
        """Step over a bracket and all up to the one that closes it."""
        depth = 0
        while self.tokens[self.i][0] != END:
            kind, word, _ = self.tokens[self.i]
            self.i += 1
            if kind == PUNCTUATION:
                depth += (word in "{<[") - (word in "}>]")
                if depth <= 0:
                    return


def _integer(word: str) -> int | None:
    """A decimal, octal or hexadecimal number without sign."""
    try:
        if word[0] == "0" and len(word) > 1:
            return int(word, 16 if word[1] in "xX" else 8)
        return int(word) if word.isdigit() else None
    except ValueError:
        return None


def _real(word: str) -> float | None:
    """A decimal number without sign, C's trailing f allowed."""
    if "_" in word:
        return None
    try:
        return float(word)
    except ValueError:
        pass
    try:
        return float(word[:-1]) if word[-1] in "fF" and word[1:2] not in ("x", "X") else None
    except ValueError:
        return None


def _enum_number(entry: Field, kind: int, word: str) -> int | None:
    assert entry.enum is not None
    if kind == NAME:
        value = entry.enum.values_by_name.get(word)
    elif kind == NUMBER:
        number = _integer(word)
        value = None if number is None else entry.enum.values_by_number.get(number)
    else:
        return None
    return None if value is None else value.number
