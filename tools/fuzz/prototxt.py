"""Damage to prototxts that keeps to their grammar, or leaves it at one chosen place.

A text is cut into tokens; what is changed is a value, a field's name, a bracket, a whole statement. Names come from the
schema, so that fields get into messages of other kinds, and layers of every type turn up in every net.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Iterator

from mutators import Mutator

__all__ = ["PROTOTXT", "SMALL_PROTOTXT"]

_TOKEN = re.compile(
    rb"""(?P<blank>\s+|\#[^\n]*) | (?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    | (?P<number>[+-]?\.?\d[\w.+-]*) | (?P<word>[A-Za-z_][\w.]*) | (?P<sign>.)""",
    re.X | re.S,
)
_SMALL = (b"0", b"1", b"2", b"3", b"5", b"7", b"-1", b"-2", b"0.5", b"-0.0", b"1e-30", b"1f", b"0x2", b"02")
_ODD = (
    *(b"2147483647", b"2147483648", b"-2147483648", b"-2147483649", b"4294967295", b"4294967296", b"1e5", b"65536"),
    *(b"9223372036854775807", b"9223372036854775808", b"18446744073709551615", b"18446744073709551616", b"1" * 30),
    *(
        b"nan",
        b"inf",
        b"-inf",
        b"-nan",
        b"1e38",
        b"3.5e38",
        b"1e400",
        b"1e-400",
        b"0x",
        b"0xFFFFFFFFFF",
        b"08",
        b"1.2.3",
    ),
    *(
        b"0777777777777777777777777",
        b"1e",
        b"-",
        b"+1",
        b"1_000",
        b"9" * 5000,
        b"\xd9\xa3",
        b"true",
        b"1.",
        b".5",
        b"5u",
    ),
)
_TEXTS = (
    *(b'""', b"''", b'"data"', b'"label"', b'"conv"', b'"\\0"', b'"\\x"', b'"\\x1b[31m"', b'"\\777"', b'"\\u00e9"'),
    *(b'"\\U0010FFFF"', b'"\\ud800"', b'"\xc3\xa9\xe4\xb8\xad"', b'"\xff\xfe"', b'"a" "b"', b'"/"', b'"."', b'"a/b"'),
    *(
        b'"' + b"x" * 300 + b'"',
        b'"\\n\\t\\r"',
        b'"__class__"',
        b'"self"',
        b'"0"',
        b'"%s%n{0}"',
        b'"a\nb"',
        b'"open',
        b'"\\',
    ),
)
_WORDS = (
    *(
        b"true",
        b"false",
        b"TRAIN",
        b"TEST",
        b"MAX",
        b"AVE",
        b"STOCHASTIC",
        b"LMDB",
        b"CPU",
        b"GPU",
        b"t",
        b"f",
        b"True",
    ),
    *(b"CONVOLUTION", b"DATA", b"NONE", b"inf", b"nan", b"FLOAT", b"L2", b"SUM", b"PROD", b"type", b"name", b"layers"),
)
_STATEMENTS = (
    b"include { phase: TRAIN }",
    b"include { min_level: 1 stage: 'x' not_stage: 'y' }",
    b"exclude { phase: TEST } include { phase: TEST }",
    b"param { name: 'shared' share_mode: PERMISSIVE lr_mult: 1 }",
    b"param { name: 'shared' }",
    b"loss_weight: 1 loss_weight: 2",
    b"propagate_down: true propagate_down: false",
    b"blobs { shape { dim: 2 dim: 3 } data: 1 }",
    b"top: 'data'",
    b"bottom: 'data' bottom: 'data'",
    b"input: 'data' input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8",
    b"input_shape { dim: 1 dim: -3 dim: 8 dim: 8 }",
    b"state { phase: TRAIN level: 3 stage: 'a' }",
    b"force_backward: true debug_info: true",
    b"transform_param { crop_size: 3 mirror: true mean_value: 1 mean_value: 2 scale: 0.1 mean_file: 'm' }",
    b"convolution_param { num_output: 2 kernel_size: [3, 3] pad_h: 1 group: 2 dilation: 2 stride: 0 }",
    b"kernel_size: 3 kernel_h: 2 kernel_w: 100",
    b"weight_filler { type: 'bilinear' } bias_filler { type: 'constant' value: nan }",
    b"[a.b.c]: 1",
    b"<>",
    b"layer_param < name: 'x' >",
    b"unknown_thing { deep { deeper: [1, 2, { x: 3 }] } };",
)


def _tokens(data: bytes) -> list[tuple[str, bytes]]:
    return [(match.lastgroup or "sign", match[0]) for match in _TOKEN.finditer(data)]


def _joined(tokens: list[tuple[str, bytes]]) -> bytes:
    return b"".join(text for _, text in tokens)


def _replaced(data: bytes, generator: random.Random, kinds: tuple[str, ...], values: tuple[bytes, ...]) -> bytes:
    tokens = _tokens(data)
    places = [at for at, (kind, _) in enumerate(tokens) if kind in kinds]
    if places:
        tokens[generator.choice(places)] = ("", generator.choice(values))
    return _joined(tokens)


@functools.cache
def _fields() -> tuple[bytes, ...]:
    """The names of the schema's fields."""
    from caffecompat.schema.pool import read_descriptor

    return tuple(sorted({field.name.encode() for kind in read_descriptor().message_type for field in kind.field}))


@functools.cache
def _layer_types() -> tuple[str, ...]:
    from caffecompat.schema.dialects import layer_types

    return tuple(sorted(layer_types()))


def small_number(data: bytes, generator: random.Random) -> bytes:
    """Another small number."""
    return _replaced(data, generator, ("number",), _SMALL)


def odd_number(data: bytes, generator: random.Random) -> bytes:
    """A number beyond what its field holds, or none."""
    return _replaced(data, generator, ("number",), _ODD)


def other_text(data: bytes, generator: random.Random) -> bytes:
    """Another text: escapes, control characters, unicode, half of a pair of quotes."""
    return _replaced(data, generator, ("text",), _TEXTS)


def other_word(data: bytes, generator: random.Random) -> bytes:
    """Another field or value, which the schema has somewhere."""
    words = tuple(text for kind, text in _tokens(data) if kind == "word")
    return _replaced(data, generator, ("word",), (*_WORDS, *generator.choices(_fields(), k=40), *words[:200]))


def other_kind(data: bytes, generator: random.Random) -> bytes:
    """A number where a text is, a word where a number is."""
    return _replaced(data, generator, ("number", "text", "word"), (*_SMALL, *_TEXTS[:6], *_WORDS))


def same_text(data: bytes, generator: random.Random) -> bytes:
    """One of the text's own names in the place of another: blobs and layers joined up otherwise."""
    texts = tuple(text for kind, text in _tokens(data) if kind == "text")
    return _replaced(data, generator, ("text",), texts) if texts else data


def bracket(data: bytes, generator: random.Random) -> bytes:
    """A sign too many, too few or of another kind."""
    tokens = _tokens(data)
    places = [at for at, (kind, _) in enumerate(tokens) if kind == "sign"]
    if places:
        at = generator.choice(places)
        sign = generator.choice((b"{", b"}", b"<", b">", b"[", b"]", b":", b",", b";", b"", b"\0", b"\x85", b'"', b"#"))
        tokens[at] = ("", sign if generator.random() < 0.6 else tokens[at][1] + sign)
    return _joined(tokens)


def _statements(data: bytes) -> list[tuple[int, int]]:
    """Where statements begin and end: ``name: value`` and ``name { ... }`` at any depth."""
    found: list[tuple[int, int]] = []
    open_at: list[int] = []
    for match in re.finditer(
        rb"""("(?:[^"\\\n]|\\.)*"|\#[^\n]*)|(\w+)\s*:?\s*\{|\}|\w+\s*:\s*(?:"[^"\n]*"|[\w.+-]+)""", data
    ):
        if match[1] is not None:
            continue
        if match[2] is not None:
            open_at.append(match.start())
        elif match[0] == b"}":
            if open_at:
                found.append((open_at.pop(), match.end()))
        else:
            found.append(match.span())
    return found


def drop_statement(data: bytes, generator: random.Random) -> bytes:
    """A field or a layer less."""
    found = _statements(data)
    if not found:
        return data
    start, end = generator.choice(found)
    return data[:start] + data[end:]


def double_statement(data: bytes, generator: random.Random) -> bytes:
    """A field or a layer twice, or many times."""
    found = _statements(data)
    if not found:
        return data
    start, end = generator.choice(found)
    times = generator.choice((1, 1, 1, 2, 40)) if end - start < 2000 else 1
    return data[:end] + (b" " + data[start:end]) * times + data[end:]


def move_statement(data: bytes, generator: random.Random) -> bytes:
    """A field or a layer in another place, in another message too."""
    found = _statements(data)
    if not found:
        return data
    start, end = generator.choice(found)
    at = generator.choice(generator.choice(found))
    moved = b" " + data[start:end] + b" "
    if at <= start:
        return data[:at] + moved + data[at:start] + data[end:]
    return data[:start] + data[end:at] + moved + data[max(at, end) :]


def add_statement(data: bytes, generator: random.Random) -> bytes:
    """Something that belongs elsewhere."""
    ends = [end - 1 for start, end in _statements(data) if data[end - 1 : end] == b"}"] or [len(data)]
    at = generator.choice([*ends, len(data)])
    return data[:at] + b" " + generator.choice(_STATEMENTS) + b" " + data[at:]


def add_field(data: bytes, generator: random.Random) -> bytes:
    """A field of any message, with a value of any kind."""
    value = generator.choice((b": ", b": ", b": ", b" ")) + generator.choice(
        (*_SMALL, *_ODD[:12], b'"x"', b"true", b"{}", b"{ dim: 1 }", b"[1, 2]", b"{ type: 'constant' }")
    )
    ends = [end - 1 for start, end in _statements(data) if data[end - 1 : end] == b"}"] or [len(data)]
    at = generator.choice([*ends, len(data)])
    return data[:at] + b" " + generator.choice(_fields()) + value + b" " + data[at:]


def add_layer(data: bytes, generator: random.Random) -> bytes:
    """A layer of any type, with the bottoms that come, its parameters left out."""
    texts = [text.decode("latin-1") for kind, text in _tokens(data) if kind == "text"] or ['"data"']
    bottoms = "".join(f"bottom: {generator.choice(texts)} " for _ in range(generator.choice((0, 1, 1, 1, 2, 3))))
    tops = "".join(f"top: {name} " for name in generator.sample(('"fuzz0"', '"fuzz1"', "'label'", texts[0]), 2))
    kind = generator.choice(_layer_types())
    layer = f'layer {{ name: "fuzz" type: "{kind}" {bottoms}{tops}}}\n'.encode("latin-1")
    ends = [end for start, end in _statements(data) if data[start : start + 5] == b"layer"] or [len(data)]
    at = generator.choice(ends)
    return data[:at] + b"\n" + layer + data[at:]


def other_type(data: bytes, generator: random.Random) -> bytes:
    """A layer that has become one of another type."""
    places = list(re.finditer(rb'type:\s*"(\w+)"', data))
    if not places:
        return data
    place = generator.choice(places)
    return data[: place.start(1)] + generator.choice(_layer_types()).encode() + data[place.end(1) :]


def deep(data: bytes, generator: random.Random) -> bytes:
    """Messages in messages, closed or not."""
    name, depth = generator.choice((b"layer", b"layers", b"a", b"loss_param")), generator.choice((3, 50, 99, 101, 5000))
    end = generator.choice((b"}" * depth, b"}" * (depth - 1), b""))
    at = generator.choice(generator.choice(_statements(data) or [(0, len(data))]))
    return data[:at] + (name + b"{") * depth + end + data[at:]


def encoding(data: bytes, generator: random.Random) -> bytes:
    """As other editors and systems write it."""
    which = generator.randrange(8)
    if which == 0:
        return b"\xef\xbb\xbf" + data
    if which == 1:
        return data.decode("latin-1").encode(generator.choice(("utf-16", "utf-32", "utf-16-be", "cp037")))
    if which == 2:
        return data.replace(b"\n", generator.choice((b"\r\n", b"\r", b"\x0b", b"\x0c", b" ", b"\xe2\x80\xa8")))
    if which == 3:
        return data.replace(b'"', generator.choice((b"'", b"\xe2\x80\x9c", b"")))
    if which == 4:
        return data.replace(b" ", generator.choice((b"\t", b"", b"\xc2\xa0", b"/**/")))
    if which == 5:
        return data.replace(b"{", b"<").replace(b"}", b">")
    if which == 6:
        return data.replace(b":", generator.choice((b"", b" : ", b"=", b"::")))
    return data + generator.choice((b"\0", b"\x1a", b"#", b"# no newline", b"'", b"\\"))


def comment(data: bytes, generator: random.Random) -> bytes:
    """A comment of any letters, or the rest of a line become one."""
    at = generator.randrange(len(data) + 1)
    return data[:at] + b"#" + generator.choice((b"", b" \xff\n", b"{ \n", b'"\n', b"x" * 3000 + b"\n")) + data[at:]


def _mixed(*mutators: tuple[Mutator, int]) -> Iterator[Mutator]:
    for mutator, times in mutators:
        yield from [mutator] * times


_ALWAYS = (
    *((small_number, 5), (other_text, 3), (other_word, 3), (other_kind, 2), (same_text, 4), (bracket, 3)),
    *((drop_statement, 4), (double_statement, 3), (move_statement, 3), (add_statement, 3), (add_field, 3)),
    *((add_layer, 5), (other_type, 3), (deep, 1), (encoding, 2), (comment, 1)),
)
PROTOTXT: tuple[Mutator, ...] = tuple(_mixed(*_ALWAYS, (odd_number, 5)))
# For nets that are run: odd sizes would be done as asked, and take their time.
SMALL_PROTOTXT: tuple[Mutator, ...] = tuple(_mixed(*_ALWAYS))
