"""What many messages say: the name that was meant, and lists of names cut short."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

__all__ = ["did_you_mean", "distance", "duration", "few", "nearest"]

_MOST_LETTERS = 3  # that may differ, however long the names are
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate that the writer of `name` most likely meant, or None where none is near.

    Near is: the same but for upper and lower case and the kind of separator; as far as one letter in four away (added,
    dropped, changed or swapped with its neighbor, three at most), the first letter being right, swapped or missing;
    an abbreviation (``Conv``, ``BatchNormalization``); or lacking words (``SoftmaxLoss`` for ``SoftmaxWithLoss``).
    A common ending ``_param`` does not count: ``ctc_loss_param`` is not near ``center_loss_param``.
    """
    folded = _fold(name)
    best: tuple[int, int, str] | None = None
    for candidate in candidates:
        cost = _cost(name, folded, candidate)
        if cost is not None and (best is None or (cost, len(candidate)) < best[:2]):
            best = (cost, len(candidate), candidate)
    return best[2] if best else None


def did_you_mean(name: str, candidates: Iterable[str], quoted: bool = False) -> str:
    """``; did you mean NAME?`` as the tail of a message, or "" where no name is near."""
    near = nearest(name, candidates)
    if near is None:
        return ""
    return f"; did you mean {near!r}?" if quoted else f"; did you mean {near}?"


def few(names: Sequence[str], most: int = 3) -> str:
    """The first names and how many more there are.

    >>> few(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def duration(seconds: float) -> str:
    """A span of time for people.

    >>> duration(7.4), duration(192), duration(7300)
    ('7 s', '3 min 12 s', '2 h 2 min')
    """
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _fold(name: str) -> str:
    return name.lower().replace("-", "_")


def _cost(name: str, folded: str, candidate: str) -> int | None:
    """How far a candidate is away; None where it is not near."""
    other = _fold(candidate)
    if folded.endswith("_param") and other.endswith("_param"):
        folded, other = folded.removesuffix("_param"), other.removesuffix("_param")
    if folded == other:
        return 0
    shorter = min(len(folded), len(other))
    allowed = min(_MOST_LETTERS, -(-shorter // 4)) if shorter >= 3 else 0
    if abs(len(folded) - len(other)) <= allowed and _begin_alike(folded, other):
        away = distance(folded, other, allowed)
        if away <= allowed:
            return away
    if _abbreviates(name, candidate) or _abbreviates(candidate, name) or _lacks_words(name, candidate):
        return _MOST_LETTERS + 1
    return None


def _begin_alike(a: str, b: str) -> bool:
    if a[0] == b[0] or a[:2] == b[1::-1]:
        return True
    return min(len(a), len(b)) >= 5 and b[0] != "_" != a[0] and (a == b[1:] or b == a[1:])


def _abbreviates(short: str, long: str) -> bool:
    """Whether `short` breaks off within a word of `long`."""
    return len(short) >= 4 and long.lower().startswith(short.lower()) and long[len(short) :][:1].islower()


def _lacks_words(name: str, candidate: str) -> bool:
    mine, theirs = ([word.lower() for word in _WORDS.findall(text)] for text in (name, candidate))
    rest = iter(theirs)
    return (
        len(name) >= 4
        and mine[:1] == theirs[:1]
        and len(mine) < len(theirs) <= 2 * len(mine)
        and all(word in rest for word in mine)
    )


def distance(a: str, b: str, most: int | None = None) -> int:
    """Letters to change, add, drop or swap with a neighbor to make `b` of `a`; beyond `most`, some number above it."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        last, before = before, row
        row = [i]
        for j, other in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == b[j - 2] and a[i - 2] == other:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
        if most is not None and min(row) > most and min(before) > most:
            return most + 1
    return row[-1]
