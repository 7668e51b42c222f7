"""Patterns that name layers of a net: ``fc*`` by name, ``@BatchNorm`` by type."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable

from caffecompat.schema import pb
from caffecompat.wording import did_you_mean

__all__ = ["is_pattern", "matches_layer", "no_match"]


def is_pattern(text: str) -> bool:
    """Whether a text names layers by type, or by a name with ``*`` (any characters) or ``?`` (one) in it."""
    return text.startswith("@") or "*" in text or "?" in text


def matches_layer(pattern: str, layer: pb.LayerParameter) -> bool:
    """Whether a pattern, or a name, names a layer. In a pattern all but ``*`` and ``?`` are the characters themselves.

    >>> matches_layer("fc*", pb.LayerParameter(name="fc8", type="InnerProduct"))
    True
    """
    if pattern == layer.name:
        return True
    text = layer.type if pattern.startswith("@") else layer.name
    quoted = pattern.removeprefix("@").replace("[", "[[]")
    return is_pattern(pattern) and re.fullmatch(fnmatch.translate(quoted), text) is not None


def no_match(pattern: str, names: Iterable[str], types: Iterable[str]) -> str:
    """What the nets lack where a pattern names none of their layers, with the nearest name or type that they have."""
    if pattern.startswith("@"):
        return f"has no layer of type {pattern[1:]!r}{did_you_mean(pattern[1:], list(types))}"
    if is_pattern(pattern):
        return f"has no layer whose name matches {pattern!r}"
    return f"has no layer of that name{did_you_mean(pattern, list(names))}"
