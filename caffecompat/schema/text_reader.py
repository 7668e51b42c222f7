"""From prototxt text to a message: protobuf's text format with all its liberties, and every problem at once.

The rules are those of C++ ``TextFormat`` (which Caffe uses), read a little more generously: see ``parse_text``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from google.protobuf.message import Message

from caffecompat import glog
from caffecompat.forks import Fork
from caffecompat.schema import fields as f
from caffecompat.schema.cursor import CLOSERS, DEEPEST
from caffecompat.schema.dialects import field_note, fork_names
from caffecompat.schema.fields import Field, Table, table_of
from caffecompat.schema.problems import Problem, PrototxtError, Text
from caffecompat.schema.suggestions import suggest
from caffecompat.schema.tokens import END, NAME, PUNCTUATION
from caffecompat.schema.unknown_field_reader import read_unknown_field
from caffecompat.schema.unknown_fields import AnyMessage, add_unknown_field
from caffecompat.schema.values import NoValue, ValueReader
from caffecompat.schema.without_effect import NoEffect

__all__ = ["Reading", "parse_block", "parse_text", "read_text", "warn"]


@dataclass
class Repeated:
    """What is to be reported once: the first occurrence, and how many there are."""

    first: Problem
    times: int = 1


@dataclass
class Reading:
    """What reading a text brought besides the message.

    Attributes:
        problems: what keeps the text from being accepted, in the order of the text.
        offsets: for each field of the outermost message, where its entries begin (offsets), in order.
        unknown: unknown fields that were kept, by message type and name: where the first is, and how many.
        without_effect: settings that no code obeys, likewise.
        unknown_at_top: names of the outermost message's unknown fields.
    """

    problems: list[Problem] = field(default_factory=list)
    offsets: dict[str, list[int]] = field(default_factory=dict)
    unknown: dict[tuple[str, str], Repeated] = field(default_factory=dict)
    without_effect: dict[tuple[str, str], Repeated] = field(default_factory=dict)
    unknown_at_top: list[str] = field(default_factory=list)


def parse_text(text: str, message: AnyMessage, name: str = "<text>", strict: bool = False) -> AnyMessage:
    """Read protobuf text format into `message` (fields are added to those it has) and return it.

    Accepted as in C++: fields in any order, ``:`` optional before a block, ``< >`` for ``{ }``, ``[a, b]`` for
    repeated fields, enum values by name or number, ``#`` comments, both quotes with C escapes, adjacent strings
    joined, ``;`` or ``,`` after a value, ``inf``, ``nan``, ``1.``, ``.5``, ``1e-05f``, ``t``/``f``/``0``/``1``.
    A field that does not repeat may be given once.

    A field unknown to the schema is kept as text (``write_text`` prints it again) with one warning, unless it is
    plainly a misspelling of a field of its message, or the message is ours alone: that is an error, as every unknown
    field is under `strict`.

    Raises:
        PrototxtError: all problems of the text, each with `name`, line, column and the nearest valid name.
    """
    return _checked(Text(name, text), message, strict)


def parse_block(text: str, message: AnyMessage, field: str, name: str = "<text>") -> AnyMessage:
    """Read what is between the brackets of a block of `message`, as `parse_text` reads a whole text.

    What depends on the message around the block (settings that only some layers obey) is known so.
    """
    return _checked(_Block(name, f"{field} {{\n{text}\n}}"), message, False)


def _checked(text: Text, message: AnyMessage, strict: bool) -> AnyMessage:
    reading = read_text(text, message, strict)
    if reading.problems:
        raise PrototxtError(reading.problems)
    warn(reading)
    return message


def warn(reading: Reading) -> None:
    """Log one warning for each unknown field of a message type and each setting without effect, however often it is."""
    for found in (*reading.unknown.values(), *reading.without_effect.values()):
        times = f" ({found.times} times, first here)" if found.times > 1 else ""
        glog.warning(f"{found.first.where}: {found.first.message}{times}", "text_format.cc:307")


def read_text(text: Text, message: Message, strict: bool = False) -> Reading:
    """Read `text` into `message` and return what was found; never raises for what the text says."""
    return _Reader(text, strict).read(message)


class _Block(Text):
    """A text within brackets that were put around it, on lines of their own."""

    def position(self, offset: int) -> tuple[int, int]:
        line, column = super().position(offset)
        return line - 1, column


@dataclass
class _Frame:
    """An open block: its field's name and place, its bracket's, the table of the message around it, and itself."""

    name: str
    at: int
    bracket: int
    outside: Table
    message: Message


@dataclass
class _Setting:
    """A field that only some layers obey, or none; its blocks from the outermost on, all of which may still grow."""

    entry: Field
    effect: NoEffect
    at: int
    frames: list[_Frame]


class _Reader(ValueReader):
    def __init__(self, text: Text, strict: bool) -> None:
        super().__init__(text)
        self.strict = strict
        self.frames: list[_Frame] = []
        self.unwinding = 0  # blocks still to leave because a closing bracket is missing
        self.reading = Reading(self.problems)
        self.undecided: list[_Setting] = []

    def read(self, message: Message) -> Reading:
        self._fields(message, table_of(message.DESCRIPTOR), "")
        for setting in self.undecided:
            self._judge(setting, message)
        self.problems.sort(key=lambda problem: (problem.line, problem.column))
        return self.reading

    # Blocks

    def _fields(self, message: Message, table: Table, closer: str) -> None:
        """Read fields up to and including `closer` (the end of the text for "")."""
        tokens, known = self.tokens, table.fields
        seen: dict[str, int] = {}
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
                if not closer:
                    self.reading.offsets.setdefault(word, []).append(at)
                if not entry.repeated and seen.setdefault(word, at) != at:
                    only = f"{self._title(table)} has only one"
                    self.problem(at, f"{word} is given twice (first at {self.spot(seen[word])}), but {only}")
                self._field(message, table, entry, at)
                if entry.effect is not None and not _is_default(message, entry):
                    self.undecided.append(_Setting(entry, entry.effect, at, [*self.frames]))
                if self.unwinding:
                    return
            kind, word, _ = tokens[self.i]
            if kind == PUNCTUATION and word in ";,":
                self.i += 1

    def _no_name(self, closer: str) -> bool:
        """Deal with a word where a field's name should be; True ends the block."""
        kind, word, at = self.tokens[self.i]
        if kind == END:
            if closer:
                self._unclosed(at)
            return True
        if self.sees(CLOSERS):
            self.i += 1
            if closer:
                opened = self.spot(self.frames[-1].bracket)
                self.problem(at, f"expected '{closer}' for the bracket opened at {opened}, found '{word}'")
                return True
            self.problem(at, f"'{word}' closes nothing: no block is open here")
            return False
        self.problem(at, f"expected a field name, found {self.shown()}")
        self.skip_line()
        return False

    def _unclosed(self, at: int) -> None:
        """The text ends inside blocks: one problem for all of them."""
        names = ", ".join(f"{frame.name} opened at {self.spot(frame.bracket)}" for frame in self.frames)
        what = "a block is" if len(self.frames) == 1 else f"{len(self.frames)} blocks are"
        self.problem(at, f"the text ends, but {what} still open: {names}")
        self.unwinding = len(self.frames)

    def _belongs_outside(self, word: str, at: int) -> bool:
        """Whether an unknown name is a field of a block around this one, and its indent says that it belongs there.

        Then a closing bracket is missing. It is noted, and reading goes on as if it were there.
        """
        line, column = self.text.position(at)
        for depth, frame in enumerate(reversed(self.frames), 1):
            frame_line, frame_column = self.text.position(frame.at)
            if word in frame.outside.fields and column <= frame_column and line > frame_line:
                inner = self.frames[-1]
                still = f"{inner.name} opened at {self.spot(inner.bracket)} is still open"
                self.problem(at, f"a closing bracket is missing before '{word}': {still}")
                self.unwinding = depth
                return True
        return False

    def _block(self, message: Message, entry: Field, at: int, outside: Table) -> None:
        """Read the block whose opening bracket is the next word into `message`."""
        _, word, bracket = self.tokens[self.i]
        if len(self.frames) >= DEEPEST:
            self.problem(at, f"blocks are nested more than {DEEPEST} deep")
            self.skip_block()
            return
        self.i += 1
        assert entry.message is not None
        self.frames.append(_Frame(entry.name, at, bracket, outside, message))
        self._fields(message, table_of(entry.message), "}" if word == "{" else ">")
        self.frames.pop()
        if self.unwinding:
            self.unwinding -= 1

    # Fields

    def _field(self, message: Message, table: Table, entry: Field, at: int) -> None:
        """Read what follows a field's name into `message`."""
        colon = self.takes(":")
        if entry.kind == f.MESSAGE:
            if self.sees("["):
                self._list(entry, lambda: self._enter(message, table, entry))
            else:
                self._enter(message, table, entry, at)
            return
        if not colon and not self.sees("{<"):
            where = self.tokens[self.i][2]
            self.problem(where, f"expected ':' between {entry.name} and its value")
            if self.line_of(where) != self.line_of(at):
                return
        with suppress(NoValue):
            if not entry.repeated:
                setattr(message, entry.name, self.value(entry))
                return
            add = getattr(message, entry.name).append
            if self.sees("["):
                self._list(entry, lambda: add(self.value(entry)))
            else:
                add(self.value(entry))

    def _enter(self, message: Message, table: Table, entry: Field, at: int | None = None) -> None:
        """Read a block into a field of `message`; the field's name is at `at`, the bracket being the default."""
        if not self.sees("{<"):
            self.refuse(entry)
            return
        target = getattr(message, entry.name)
        if entry.repeated:
            target = target.add()
        else:
            target.SetInParent()  # an empty block is present, too
        self._block(target, entry, self.tokens[self.i][2] if at is None else at, table)

    def _list(self, entry: Field, read_one: Callable[[], None]) -> None:
        """Read ``[a, b]``; the next word is its opening bracket."""
        if not entry.repeated:
            self.refuse(entry)
            return
        opened = self.tokens[self.i][2]
        self.i += 1
        while not self.takes("]"):
            at = self.tokens[self.i][2]
            if self.tokens[self.i][0] == END or self.sees("}>"):
                self.problem(at, f"the list of {entry.name} opened at {self.spot(opened)} is not closed by ']'")
                return
            with suppress(NoValue):
                read_one()
            if self.unwinding:
                return
            if not self.takes(",") and not self.sees(CLOSERS) and self.tokens[self.i][0] != END:
                where = self.tokens[self.i][2]
                self.problem(where, f"expected ',' or ']' in the list of {entry.name}, found {self.shown()}")
                self.skip_line()
                return

    def _unknown(self, message: Message, table: Table) -> None:
        """Read a field that the schema does not know; keep it or refuse it."""
        _, word, at = self.tokens[self.i]
        before = len(self.problems)
        unknown = read_unknown_field(self, len(self.frames))
        if not self.frames:
            self.reading.unknown_at_top.append(word)
        if len(self.problems) > before:
            return
        found = suggest(table, word)
        text = f"{self._title(table)} has no field '{word}'{found.hint}"
        if found.mistaken or self.strict:
            self.problem(at, text)
        else:
            add_unknown_field(message, unknown)
            self._count(self.reading.unknown, table.name, word, at, f"{text}; kept as it is, without effect")

    def _count(self, found: dict[tuple[str, str], Repeated], table: str, name: str, at: int, text: str) -> None:
        if (table, name) in found:
            found[table, name].times += 1
        else:
            found[table, name] = Repeated(Problem.at(self.text, at, text))

    def _judge(self, setting: _Setting, outermost: Message) -> None:
        """Note a setting that has no effect in its layer, which may be the `outermost` message."""
        around = (*(frame.message for frame in reversed(setting.frames)), outermost)
        layer = next((x for x in around if "LayerParameter" in x.DESCRIPTOR.name), None)
        if setting.effect.obeyed is not None and layer is not None and setting.effect.obeyed(layer):
            return
        entry = setting.entry
        block = f"{setting.frames[-1].name}." if setting.frames else ""
        forks = field_note(entry.owner, entry.name).forks
        whose = f" ({fork_names(forks)})" if Fork.BVLC not in forks else ""
        advice = f": {setting.effect.advice}" if setting.effect.advice else ""
        text = f"{block}{entry.name}{whose} has no effect here{advice}"
        self._count(self.reading.without_effect, entry.owner, entry.name, setting.at, text)

    def _title(self, table: Table) -> str:
        """What the user calls the block being read."""
        return self.frames[-1].name if self.frames else table.name


def _is_default(message: Message, entry: Field) -> bool:
    """Whether a field has the value it would have unset."""
    return not entry.repeated and entry.kind != f.MESSAGE and getattr(message, entry.name) == entry.initial
