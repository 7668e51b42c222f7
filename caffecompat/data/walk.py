"""The order in which a list is read: round after round, in its own order or shuffled again each time."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import numpy as np

from caffecompat.data.shuffle import shuffled
from caffecompat.formats.image_list import written_again
from caffecompat.resumable import State, stored_place

__all__ = ["ListWalk", "Walk", "fingerprint"]


_PART = 1 << 16  # names that are put together at once


class Walk:
    """A place in an endless walk through the numbers 0 to count - 1.

    Args:
        generator: shuffles them, each round again from the order of the last; None leaves them in order.

    Attributes:
        at: how many of this round are done.
        order: the numbers of this round, an array that never changes; None where they are in order.
    """

    def __init__(self, count: int, generator: random.Random | None) -> None:
        self.count = count
        self._generator = generator
        self.order: np.ndarray | None = None if generator is None else np.arange(count, dtype=np.uint32)
        self.begin_again()

    def begin_again(self) -> None:
        """To the first of a new round."""
        self.at = 0
        if self._generator is not None and self.order is not None:
            self.order = shuffled(self.order, self._generator)

    def number(self, ahead: int = 0) -> int:
        """The number here, or that many places on; beyond the end of the round it is one of its first."""
        place = (self.at + ahead) % self.count
        return place if self.order is None else int(self.order[place])

    def advance(self, places: int) -> None:
        """Go on; where that reaches the end, to the first of a new round."""
        self.at += places
        if self.at >= self.count:
            self.begin_again()

    def state(self) -> State:
        """The place and the order; the generator's state is its owner's."""
        return {"count": self.count, "at": self.at, "order": self.order}

    def restore(self, state: State) -> list[str]:
        """Go on from such a place.

        Where the count has changed, the order is kept: numbers that are gone are left out, new ones come last.

        Raises:
            ValueError: it is no place in a walk.
        """
        at = stored_place(state, "at")
        if (state["order"] is None) != (self.order is None):
            said = ["false", "true"]
            self.at = min(at, self.count)
            return [f"shuffle was {said[self.order is None]}, it is {said[self.order is not None]}"]
        if self.order is not None:
            order = np.asarray(state["order"])
            if order.dtype.kind not in "iu" or not np.array_equal(np.sort(order), np.arange(len(order))):
                raise ValueError("the order does not have each number once")
            at = int(np.count_nonzero(order[:at] < self.count))
            more = np.arange(len(order), self.count)
            self.order = np.concatenate([order[order < self.count], more]).astype(np.uint32)
        self.at = min(at, self.count)
        return []


class ListWalk(Walk):
    """A walk through the lines of a list.

    Args:
        path: of the list, for messages.
        entries: its lines: a path first, then a label or another path; `line` is the number of the line.
    """

    def __init__(self, path: str, entries: Sequence[Any], generator: random.Random | None) -> None:
        self._path, self._entries = path, entries
        self._print = fingerprint(written_again(entries))
        super().__init__(len(entries), generator)

    def state(self) -> State:
        return {**super().state(), "lines": self._print, "next": self._entries[self.number()][0]}

    def restore(self, state: State) -> list[str]:
        """Go on from such a place; in a changed list at the line of the same file that is nearest to it."""
        remarks = super().restore(state)
        if state["lines"] != self._print:
            if self.order is None:
                same = [number for number, entry in enumerate(self._entries) if entry[0] == state["next"]]
                self.at = min(same, key=lambda number: abs(number - state["at"]), default=self.at)
            self.advance(0)  # to a new round, if no line of this one is left
            was = (
                f"it had {state['count']} lines, it has {self.count}" if state["count"] != self.count else "other lines"
            )
            line = self._entries[self.number()].line
            remarks.append(f"{self._path} has changed ({was}); line {line} comes next")
        return remarks


def fingerprint(names: Iterable[str]) -> int:
    """A number by which a list is known again."""
    numbers, rest = 0, iter(names)
    separator = ""
    while part := "\0".join(islice(rest, _PART)):
        numbers = zlib.crc32((separator + part).encode("utf-8", "surrogatepass"), numbers)
        separator = "\0"
    return numbers
