"""The order in which a list is read: round after round, in its own order or shuffled again each time."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from caffecompat.resumable import State, stored_place

__all__ = ["ListWalk", "Walk", "fingerprint"]


class Walk:
    """A place in an endless walk through the numbers 0 to count - 1.

    Args:
        generator: shuffles them, each round again from the order of the last; None leaves them in order.

    Attributes:
        at: how many of this round are done.
        order: the numbers of this round, a list that never changes; None where they are in order.
    """

    def __init__(self, count: int, generator: random.Random | None) -> None:
        self.count = count
        self._generator = generator
        self.order: list[int] | None = None if generator is None else list(range(count))
        self.begin_again()

    def begin_again(self) -> None:
        """To the first of a new round."""
        self.at = 0
        if self._generator is not None and self.order is not None:
            order = self.order.copy()
            self._generator.shuffle(order)
            self.order = order

    def number(self, ahead: int = 0) -> int:
        """The number here, or that many places on; beyond the end of the round it is one of its first."""
        place = (self.at + ahead) % self.count
        return place if self.order is None else self.order[place]

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
            order = list(state["order"])
            if sorted(order) != list(range(len(order))):
                raise ValueError("the order does not have each number once")
            at = sum(number < self.count for number in order[:at])
            self.order = [number for number in order if number < self.count] + list(range(len(order), self.count))
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
        self._print = fingerprint(f"{entry[0]} {entry[1]}" for entry in entries)
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
    return zlib.crc32("\0".join(names).encode("utf-8", "surrogatepass"))
