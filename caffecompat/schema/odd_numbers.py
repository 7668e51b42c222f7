"""Settings that are no numbers: NaN, and infinity where nothing can be infinite."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message

__all__ = ["odd_numbers"]

_VALUES = ("FillerParameter", "BlobProto")  # what blobs hold, which may be anything


def odd_numbers(message: Message, *, infinite: bool = True) -> Iterator[tuple[str, str]]:
    """The settings of a message, and of those inside it, that no computation can follow.

    Args:
        infinite: whether infinity is one of them, as NaN is.

    Yields:
        Each field, by its path from the message, and what is wrong with it.

    >>> from caffecompat.schema import parse_text, pb
    >>> list(odd_numbers(parse_text("lrn_param { alpha: nan }", pb.LayerParameter())))
    [('lrn_param.alpha', 'lrn_param.alpha must be a number, it is nan')]
    """
    for path, value in _reals(message, ""):
        if not math.isfinite(value) and (infinite or math.isnan(value)):
            yield path, f"{path} must be a number, it is {value:g}"


def _reals(message: Any, prefix: str) -> Iterator[tuple[str, float]]:
    """The path and value of every floating-point number that is set."""
    for field, value in message.ListFields():
        path = prefix + field.name
        if field.message_type is not None:
            if field.message_type.name not in _VALUES:
                for inner in [value] if isinstance(value, Message) else value:
                    yield from _reals(inner, path + ".")
        elif field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
            yield from ((path, number) for number in ([value] if isinstance(value, float) else value))
