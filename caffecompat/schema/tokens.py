"""The words of protobuf's text format."""

from __future__ import annotations

import re

from caffecompat.schema.problems import Text

__all__ = [
    "BROKEN_STRING",
    "END",
    "NAME",
    "NUMBER",
    "OTHER",
    "PUNCTUATION",
    "STRING",
    "Token",
    "integer",
    "real",
    "tokenize",
    "unescape",
]

NAME, NUMBER, STRING, PUNCTUATION, BROKEN_STRING, OTHER, END = range(1, 8)

Token = tuple[int, str, int]  # kind, characters, offset of the first

# Blanks and comments, then one word; every character is matched, so the scan never fails or backtracks.
# A number is taken as widely as in C ("1e-05f", ".999", "0x1F", but also "3x"), so that a bad one is one error.
_WORD = re.compile(
    r"""(?:[\s\ufeff]+|\#[^\n]*)*
    (?: ([A-Za-z_][A-Za-z0-9_]*)
      | (\.?[0-9](?:[eE][+-]|[A-Za-z0-9_.])*)
      | ("(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*')
      | ([{}<>\[\]:;,-])
      | (["'][^\n]*)
      | (.)
      | (\Z) )""",
    re.VERBOSE,
)


def tokenize(text: Text) -> list[Token]:
    """All words of a text; the last is of kind END."""
    tokens: list[Token] = []
    for match in _WORD.finditer(text.characters):
        kind = match.lastindex or END
        tokens.append((kind, match[kind], match.start(kind)))
        if kind == END:
            break
    return tokens


_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_NAMED = {
    "a": b"\a",
    "b": b"\b",
    "f": b"\f",
    "n": b"\n",
    "r": b"\r",
    "t": b"\t",
    "v": b"\v",
    "\\": b"\\",
    "?": b"?",
    "'": b"'",
    '"': b'"',
}


def integer(word: str) -> int | None:
    """A decimal, octal or hexadecimal number without sign."""
    try:
        if word[0] == "0" and len(word) > 1:
            return int(word, 16 if word[1] in "xX" else 8)
        return int(word) if word.isdecimal() else None
    except ValueError:
        return None


def real(word: str) -> float | None:
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


def unescape(quoted: str) -> tuple[bytes, int]:
    r"""The bytes of a string word, quotes included, and where its first bad escape is (-1: none).

    C's escapes: ``\n \t \\ \' \"`` and kin, octal ``\303``, hexadecimal ``\xc3``, and ``\u00e9``.
    """
    body = quoted[1:-1]
    if "\\" not in body:
        return body.encode("utf-8", "surrogatepass"), -1
    out, last, bad = [], 0, -1
    for match in _ESCAPE.finditer(body):
        out.append(body[last : match.start()].encode("utf-8", "surrogatepass"))
        last = match.end()
        octal, hexadecimal, short, long, letter = match.groups()
        point = int(short or long or "0", 16)
        if octal:
            out.append(bytes([int(octal, 8) & 255]))
        elif hexadecimal:
            out.append(bytes([int(hexadecimal, 16)]))
        elif letter is None and point <= 0x10FFFF and not 0xD800 <= point < 0xE000:
            out.append(chr(point).encode())
        elif letter in _NAMED:
            out.append(_NAMED[letter])
        elif bad < 0:
            bad = match.start() + 1
    out.append(body[last:].encode("utf-8", "surrogatepass"))
    return b"".join(out), bad
