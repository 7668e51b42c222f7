"""Damage to bytes of any kind. The same generator always does the same damage."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

__all__ = ["MUTATORS", "TEXT_MUTATORS", "Mutator", "mutate"]

Mutator = Callable[[bytes, random.Random], bytes]

_PAGE = 4096
_SIZES = (1, 2, 4, 8)
_EDGES = [(1 << bits) - less for bits in (15, 16, 31, 32, 63) for less in (0, 1)]
_NUMBERS = (0, 1, 2, 127, 128, 255, *_EDGES)
_WORDS = (
    *(b"nan", b"-inf", b"1e999", b"-1", b"0", b"4294967296", b"9" * 40, b"9" * 5000),
    *(b"1.5", b'"', b"\xff\xfe", b"\0", b"\xc2\xb2", b""),
)


def mutate(data: bytes, generator: random.Random, mutators: Sequence[Mutator] = ()) -> bytes:
    """Damage done one to four times over.

    Args:
        mutators: that know the format; each is as likely to be taken as one of MUTATORS.
    """
    chosen = [*MUTATORS, *mutators]
    for _ in range(generator.choice((1, 1, 1, 2, 4))):
        data = generator.choice(chosen)(data, generator)
    return data


def flip_bit(data: bytes, generator: random.Random) -> bytes:
    """One bit turned, as bad memory and bad disks do."""
    if not data:
        return data
    at = generator.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << generator.randrange(8)]) + data[at + 1 :]


def flip_bit_in_head(data: bytes, generator: random.Random) -> bytes:
    """One bit turned in the first bytes, where formats keep what the rest means."""
    return flip_bit(data[:64], generator) + data[64:]


def set_bytes(data: bytes, generator: random.Random) -> bytes:
    """A few bytes at random."""
    at = generator.randrange(len(data) + 1)
    count = generator.randrange(1, 9)
    return data[:at] + generator.randbytes(min(count, len(data) - at)) + data[at + count :]


def set_number(data: bytes, generator: random.Random) -> bytes:
    """A number that programs trip over in the place of another, in either byte order."""
    size = generator.choice(_SIZES)
    at = generator.randrange(max(1, len(data) - size))
    number = generator.choice(_NUMBERS) % (1 << 8 * size)
    return data[:at] + number.to_bytes(size, generator.choice(("little", "big"))) + data[at + size :]


def truncate(data: bytes, generator: random.Random) -> bytes:
    """Cut short, as an interrupted copy is."""
    return data[: generator.randrange(len(data) + 1)]


def truncate_at_page(data: bytes, generator: random.Random) -> bytes:
    """Cut short where a page of a disk ends."""
    return data[: generator.randrange(len(data) // _PAGE + 1) * _PAGE]


def zero_page(data: bytes, generator: random.Random) -> bytes:
    """A page of zeros, as file systems leave them after a crash."""
    at = generator.randrange(len(data) // _PAGE + 1) * _PAGE
    return data[:at] + bytes(len(data[at : at + _PAGE])) + data[at + _PAGE :]


def zero_some(data: bytes, generator: random.Random) -> bytes:
    """Zeros over up to a hundred bytes."""
    at, count = generator.randrange(len(data) + 1), generator.randrange(1, 100)
    return data[:at] + bytes(len(data[at : at + count])) + data[at + count :]


def insert(data: bytes, generator: random.Random) -> bytes:
    """Bytes too many."""
    at = generator.randrange(len(data) + 1)
    return data[:at] + generator.randbytes(generator.choice((1, 2, 7, 64, 300))) + data[at:]


def delete(data: bytes, generator: random.Random) -> bytes:
    """Bytes too few."""
    at = generator.randrange(len(data) + 1)
    return data[:at] + data[at + generator.choice((1, 2, 7, 64, 300)) :]


def splice(data: bytes, generator: random.Random) -> bytes:
    """A piece of the file written over another one."""
    if not data:
        return data
    start, at = generator.randrange(len(data)), generator.randrange(len(data))
    piece = data[start : start + generator.choice((4, 16, 256, _PAGE))]
    return data[:at] + piece + data[at + len(piece) :]


def repeat(data: bytes, generator: random.Random) -> bytes:
    """A piece of the file many times."""
    start = generator.randrange(len(data) + 1)
    piece = data[start : start + generator.randrange(1, 40)]
    return data[:start] + piece * generator.choice((2, 3, 100)) + data[start + len(piece) :]


def change_word(data: bytes, generator: random.Random) -> bytes:
    """Another number or word in the place of one in a text."""
    found = list(re.finditer(rb"[\w.+-]+", data))
    if not found:
        return data
    word = generator.choice(found)
    return data[: word.start()] + generator.choice(_WORDS) + data[word.end() :]


def nest(data: bytes, generator: random.Random) -> bytes:
    """A bracket, or a tag, opened thousands of times."""
    at = generator.randrange(len(data) + 1)
    return data[:at] + generator.choice((b"[", b"{", b'{"a":', b"(", b"<a>", b"item {")) * 20000 + data[at:]


def drop_line(data: bytes, generator: random.Random) -> bytes:
    """A line less."""
    lines = data.splitlines(keepends=True)
    if lines:
        lines.pop(generator.randrange(len(lines)))
    return b"".join(lines)


MUTATORS: tuple[Mutator, ...] = (
    flip_bit,
    flip_bit,
    flip_bit_in_head,
    set_bytes,
    set_number,
    truncate,
    truncate_at_page,
    zero_page,
    zero_some,
    insert,
    delete,
    splice,
    repeat,
)
TEXT_MUTATORS: tuple[Mutator, ...] = (change_word, change_word, change_word, change_word, nest, drop_line)
