"""Who is shown what a training computes, besides the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from caffecompat.solver.solver import Solver

__all__ = ["Monitor"]


class Monitor(Protocol):
    """Called by a solver whose `monitors` has it."""

    def displayed(self, solver: Solver, iteration: int, tops: Mapping[str, Tensor]) -> None:
        """An iteration was displayed, and its update done; `tops` are the outputs of the train net."""

    def tested(self, solver: Solver, index: int, scores: Mapping[str, Sequence[float]]) -> None:
        """The test net `index` has these scores, by output blob, before the update of iteration ``solver.iter``."""
