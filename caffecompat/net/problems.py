"""What is wrong with a net, all of it at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from caffecompat.errors import CaffeCompatError
from caffecompat.schema import NetDocument

__all__ = ["NetError", "Problem", "described"]


_SHOWN = 20  # problems printed in full; the rest is counted


@dataclass(frozen=True)
class Problem:
    """One thing to fix: the layer it concerns (index into the net's layers; None is the net as a whole) and why.

    Attributes:
        field: the field of the net as a whole that is to blame; "" where none is.
    """

    layer: int | None
    text: str
    field: str = ""


class NetError(CaffeCompatError):
    """A prototxt was read but does not make a net; the message lists the first 20 problems, each with its place.

    Attributes:
        problems: all of them, one text each, ``file:line:column: layer 'x' (Type): what and what to do``.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        more = len(self.problems) - _SHOWN
        super().__init__("\n".join([*self.problems[:_SHOWN], *([f"... and {more} more problems"] if more > 0 else [])]))


def described(document: NetDocument, problems: Sequence[Problem]) -> list[str]:
    """One line each, with the place in the document, in its order."""
    texts = []
    for problem in sorted(problems, key=lambda p: -1 if p.layer is None else p.layer):
        if problem.layer is None:
            where = document.where_field(problem.field) if problem.field else document.path
            texts.append(f"{where or 'net'}: {problem.text}")
        else:
            layer = document.message.layer[problem.layer]
            texts.append(f"{document.where(problem.layer)}: layer {layer.name!r} ({layer.type}): {problem.text}")
    return texts
