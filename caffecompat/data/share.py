"""Which records of a training set are this process's, where several train one net (`Share`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

__all__ = ["ALL", "Share", "current_share", "share_records"]

_T = TypeVar("_T")


class Share(NamedTuple):
    """Every size-th record, from number `rank` on, across the end of the data: the skip rule of BVLC's DataLayer.

    Each process walks through all records, and draws the random numbers of all of them, but reads its own alone. So
    the processes together read what one process reads, with equal random numbers, and are at equal places at the same
    iteration: one stored place serves any number of processes.
    """

    rank: int = 0
    size: int = 1

    def of(self, records: Sequence[_T]) -> list[_T]:
        """Its own of some whole rounds of records.

        >>> Share(1, 3).of("abcdef")
        ['b', 'e']
        """
        return list(records[self.rank :: self.size])

    def owns(self, number: int) -> bool:
        """Whether the thing of that number, from 0, is its own."""
        return number % self.size == self.rank


ALL = Share()
_current = ALL


def share_records(share: Share) -> None:
    """Let the sources of TRAIN layers opened from now on read this share of their records."""
    global _current
    _current = share


def current_share() -> Share:
    """What `share_records` was called with last; all records before that."""
    return _current
