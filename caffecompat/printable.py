"""Text out of files as a terminal may show it: names in them can hold anything, escape sequences among it."""

from __future__ import annotations

import re

__all__ = ["printable", "printable_lines"]

# Controls of ASCII and Latin-1, the separators that end lines, and what turns the direction of writing around.
_LINES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_ALL = re.compile(_LINES.pattern.replace("\x08\x0b", "\x08\t\n\x0b"))


def printable_lines(text: str) -> str:
    r"""The text with control characters as escapes, line ends and tabs apart.

    >>> printable_lines("conv\x1b[31m1\n")
    'conv\\x1b[31m1\n'
    """
    return _LINES.sub(_escape, text)


def printable(text: str) -> str:
    r"""A name in one line: every control character as an escape.

    >>> printable("conv\n1")
    'conv\\n1'
    """
    return _ALL.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
