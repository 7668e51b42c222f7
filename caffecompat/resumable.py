"""What a run must remember, besides weights, so that it can go on exactly: the protocol of all that has a part in it.

Sources of data, layers that keep something from one pass to the next, random generators and a solver's own numbers
follow it. A snapshot holds what `state` gives of each; `restore` puts it back, in another process as a rule.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

__all__ = ["Resumable", "State", "generator_state", "restore_generator", "stored_place"]

# By name: None, truth values, numbers, strings, arrays and tensors, and lists and dicts of these.
State = Mapping[str, Any]


class Resumable(Protocol):
    """Whatever has a part in what a run computes next."""

    def state(self) -> State:
        """What it must remember; what is returned does not change when the run goes on. Empty where that is nothing."""

    def restore(self, state: State) -> Sequence[str]:
        """Go on from what `state` once gave.

        Returns:
            A remark on each thing that differs from then (a list that has other lines), for which it went on as near as
            it could; none where it goes on exactly.
        """


def generator_state(generator: random.Random) -> State:
    """The state of a generator, as :func:`restore_generator` takes it."""
    _, numbers, gauss = generator.getstate()
    return {"numbers": numbers, "gauss": gauss}


def restore_generator(generator: random.Random, state: State) -> None:
    """Let a generator go on from such a state."""
    generator.setstate((3, tuple(state["numbers"]), state["gauss"]))


def stored_place(state: State, name: str) -> int:
    """A number of a state that counts records, lines or rows.

    Raises:
        ValueError: it is something else, which would only show when the data is read.
    """
    place = state[name]
    if type(place) is not int or place < 0:
        raise ValueError(f"{name} is {place!r:.50}, which is no place in the data")
    return place
