"""Sizes, counts and names as callers of the public functions give them: checked before anything is computed."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

from caffecompat.errors import CaffeCompatError

__all__ = ["as_count", "as_names", "as_number", "as_size", "expect_message"]


def as_size(given: Any, name: str = "size") -> tuple[int, int] | None:
    """A (height, width) in pixels, both at least 1; None, where the caller leaves it open, stays None.

    >>> as_size([480, 640])
    (480, 640)

    Raises:
        CaffeCompatError: it is something else.
    """
    if given is None:
        return None
    try:
        height, width = map(_whole, given)
    except (TypeError, ValueError):
        height = width = 0
    if isinstance(given, (str, bytes)) or height < 1 or width < 1:
        raise CaffeCompatError(f"{name} {given!r}: expected (height, width) in pixels, two whole numbers of at least 1")
    return height, width


def as_count(given: Any, name: str, least: int = 1) -> int | None:
    """A whole number of at least `least`; None, where the caller leaves it open, stays None.

    Raises:
        CaffeCompatError: it is something else.
    """
    if given is None:
        return None
    try:
        number = _whole(given)
    except TypeError:
        number = least - 1
    if number < least:
        raise CaffeCompatError(f"{name} {given!r}: expected a whole number of at least {least}")
    return number


def as_number(given: Any, name: str, what: str, fits: Callable[[float], bool]) -> float:
    """A number in a range.

    Args:
        what: the range in words, for the message. `fits`: whether a number is in it.

    >>> as_number(0.5, "share", "a share between 0 and 1", lambda share: 0 < share < 1)
    0.5

    Raises:
        CaffeCompatError: it is something else.
    """
    if isinstance(given, bool) or not isinstance(given, Real) or not fits(float(given)):
        raise CaffeCompatError(f"{name} {given!r}: expected {what}")
    return float(given)


def as_names(given: Sequence[str], name: str) -> tuple[str, ...]:
    """Several names.

    >>> as_names(["deploy"], "stages")
    ('deploy',)

    Raises:
        CaffeCompatError: it is one string, which Python would take letter by letter, or no names at all.
    """
    if isinstance(given, str) or not all(isinstance(one, str) for one in given):
        raise CaffeCompatError(f"{name} {given!r}: expected a list of names, also where it is one")
    return tuple(given)


def expect_message(given: Any, kind: str, how: str) -> None:
    """Check that a message of protobuf is of a kind.

    Args:
        kind: such as "NetParameter".
        how: the way to one, for the message: "as read_net gives it".

    Raises:
        CaffeCompatError: it is another message, or none.
    """
    found = getattr(getattr(given, "DESCRIPTOR", None), "name", None)
    if found != kind:
        raise CaffeCompatError(f"expected a {kind}, {how}; this is a {found or type(given).__name__}")


def _whole(given: Any) -> int:
    if isinstance(given, bool):
        raise TypeError
    return operator.index(given)
