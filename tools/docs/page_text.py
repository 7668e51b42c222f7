"""Markdown of docstrings and tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from inspect import cleandoc

__all__ = ["code", "plain", "prose", "table"]

_CODE = re.compile(r"(`+)(.+?)\1")
_SECTION = re.compile(r"(Args|Returns|Raises|Attributes|Yields|Example|Examples):")
_RULE = re.compile(r"=+( +=+)+")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def code(text: str) -> str:
    """Text as code, in one line."""
    return f"`{text}`" if text else ""


def plain(text: str) -> str:
    """Text of a docstring or comment in one line: what Markdown or HTML would take for its own is taken as it is."""
    text = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", text)
    parts, at = [], 0
    for match in _CODE.finditer(text):
        parts += [_escaped(text[at : match.start()]), code(match[2])]
        at = match.end()
    return "".join([*parts, _escaped(text[at:])])


def _escaped(text: str) -> str:
    return re.sub(r"([*\[\]#])", r"\\\1", text).replace("<", "&lt;")


def prose(docstring: str | None) -> str:
    """A docstring as Markdown: paragraphs, indented blocks, lists of arguments, tables, examples."""
    parts = []
    for paragraph in re.split(r"\n(?:[ \t]*\n)+", cleandoc(docstring or "")):
        lines = paragraph.rstrip().splitlines()
        if not lines:
            continue
        if lines[0].startswith(">>>"):
            parts.append("```python\n" + "\n".join(lines) + "\n```")
        elif any(map(_RULE.fullmatch, lines)):
            parts.append("```text\n" + "\n".join(lines) + "\n```")
        elif lines[0].startswith(" "):
            parts.append("```text\n" + cleandoc("\n".join(["", *lines])) + "\n```")
        elif _SECTION.fullmatch(lines[0]):
            parts.append(f"**{lines[0][:-1]}**\n\n{_items(lines[1:])}")
        else:
            parts.append(_paragraph(lines))
    return "\n\n".join(parts) + "\n"


def _paragraph(lines: Sequence[str]) -> str:
    """A paragraph; where indented lines follow, they are a block of code."""
    end = next((at for at, line in enumerate(lines) if line.startswith("    ")), len(lines))
    text = "\n".join(map(plain, lines[:end]))
    text = re.sub(r"::$", ":", text)
    return text if end == len(lines) else f"{text}\n\n```text\n" + cleandoc("\n".join(["", *lines[end:]])) + "\n```"


def _items(lines: Sequence[str]) -> str:
    """``name: text`` with its continuation lines, an item each."""
    items: list[str] = []
    for line in cleandoc("\n".join(["", *lines])).splitlines():
        if line.startswith(" ") and items:
            items[-1] += " " + line.strip()
        else:
            items.append(line)
    named = (re.fullmatch(r"([\w, *.]+?): (.*)", item) for item in items)
    return "\n".join(
        f"- {code(match[1])}: {plain(match[2])}" if match else f"- {plain(item)}"
        for match, item in zip(named, items, strict=True)
    )
