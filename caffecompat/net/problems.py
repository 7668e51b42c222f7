"""What is wrong with a net, all of it at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from caffecompat.errors import CaffeCompatError

__all__ = ["NetError", "Problem"]


@dataclass(frozen=True)
class Problem:
    """One thing to mend: the layer it concerns (index into the net's layers; None is the net as a whole) and why."""

    layer: int | None
    text: str


class NetError(CaffeCompatError):
    """A prototxt was read but does not make a net; the message lists every problem with its place.

    Attributes:
        problems: one text each, ``file:line:column: layer 'x' (Type): what and what to do``.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))
