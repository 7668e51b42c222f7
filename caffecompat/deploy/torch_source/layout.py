"""The text of statements: within a width, in groups, under names that Python takes."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from caffecompat.net.identifiers import identifier

__all__ = ["WIDTH", "Names", "Statement", "class_name", "grouped", "laid_out", "last_bracket"]

WIDTH = 120
_LEAST_GROUP = 3


@dataclass
class Statement:
    """A line of the file.

    Attributes:
        text: of the statement.
        group: what it belongs to; statements of one group stay together.
    """

    text: str
    group: object = None


class Names:
    """Python names for Caffe's: unique, no keyword, nothing that the file uses otherwise."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)
        self._names: dict[tuple[str, int], str] = {}

    def reserve(self, taken: Iterable[str]) -> None:
        """More names that the file uses otherwise."""
        self._taken.update(taken)

    def name(self, caffe_name: str, fallback: str = "layer", index: int = 0) -> str:
        """The name for a layer or blob.

        Args:
            fallback: what it becomes when nothing in it can be part of a name.
            index: of a layer; layers without parameters may share a name.
        """
        name = self._names.get((caffe_name, index))
        if name is None:
            stem = identifier(caffe_name)
            stem = stem if stem.strip("_") else fallback
            name = f"{stem}_" if keyword.iskeyword(stem) or stem in self._taken else stem
            count = 2
            while name in self._taken:
                name, count = f"{stem}_{count}", count + 1
            self._taken.add(name)
            self._names[caffe_name, index] = name
        return name


def class_name(name: str, taken: Iterable[str]) -> str:
    """The class's name for a net's: its words in capitals."""
    words = re.findall(r"[A-Za-z0-9]+", name)
    joined = "".join(word[0].upper() + word[1:] for word in words) or "Net"
    if joined[0].isdigit() or joined in set(taken) or keyword.iskeyword(joined):
        joined = f"Net{joined}"
    return joined


def grouped(statements: Sequence[Statement], indent: int = 8) -> list[str]:
    """Lines, with an empty one before each group that is not too small to be on its own."""
    lines: list[str] = []
    since = 0
    for _, run in groupby(statements, lambda statement: statement.group):
        members = list(run)
        if since >= _LEAST_GROUP and len(members) >= _LEAST_GROUP:
            lines.append("")
            since = 0
        since += len(members)
        lines += [line for member in members for line in laid_out(member.text, indent)]
    return lines


def laid_out(text: str, indent: int = 0, tail: str = "") -> list[str]:
    """A statement or argument in lines within the width: broken at its last brackets, as formatters do."""
    pad = " " * indent
    if len(pad) + len(text) + len(tail) <= WIDTH:
        return [pad + text + tail]
    opening = last_bracket(text)
    if opening is None or opening + 2 == len(text):
        return _broken_sum(text, indent) if not tail else [pad + text + tail]
    head, inside, closing = text[: opening + 1], text[opening + 1 : -1], text[-1]
    if len(pad) + 4 + len(inside) <= WIDTH:
        return [pad + head, f"{pad}    {inside}", pad + closing + tail]
    lines, arguments = [pad + head], _split(inside, (", ",))
    for argument in arguments:
        alone = len(arguments) == 1 and last_bracket(argument) is not None
        lines += laid_out(argument, indent + 4, "" if alone else ",")
    return [*lines, pad + closing + tail]


def _broken_sum(text: str, indent: int) -> list[str]:
    """An assignment of a long sum or product: an operand a line, in brackets."""
    target, _, value = text.partition(" = ")
    parts = _split(value, (" + ", " - ")) if value else []
    parts = parts if len(parts) > 1 else _split(value, (" * ",))
    if len(parts) < 2:
        return [" " * indent + text]
    pad = " " * indent
    return [f"{pad}{target} = (", *(f"{pad}    {part.strip()}" for part in parts), f"{pad})"]


def last_bracket(text: str) -> int | None:
    """Where the bracket opens that closes at the end of the text."""
    if not text or text[-1] not in ")]}":
        return None
    depth = 0
    for at in range(len(text) - 1, -1, -1):
        depth += (text[at] in ")]}") - (text[at] in "([{")
        if depth == 0:
            return at
    return None


def _split(text: str, separators: Sequence[str]) -> list[str]:
    """Parts between separators outside of brackets and strings; operators stay with what follows them."""
    parts, start, depth, quoted = [], 0, 0, False
    for at, character in enumerate(text):
        quoted ^= character == '"'
        depth += (character in "([{") - (character in ")]}")
        separator = next((s for s in separators if text.startswith(s, at)), None)
        if separator and not depth and not quoted and at > start:
            parts.append(text[start:at])
            start = at + len(separator) if separator == ", " else at
    return [*parts, text[start:]]
