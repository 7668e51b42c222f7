"""Iterations in epochs: how much of the training data an iteration takes."""

from __future__ import annotations

import math
from typing import NamedTuple

from caffecompat.errors import CaffeCompatError
from caffecompat.net import Net

__all__ = ["MOST_ITERATIONS", "Epochs", "count_epochs", "need_epochs"]

MOST_ITERATIONS = 2**31 - 1  # of max_iter


class Epochs(NamedTuple):
    """The size of the training data, and what an iteration takes of it.

    Attributes:
        records: images of the data, N.
        batch: images of a pass.
        passes: passes of an iteration: iter_size times the number of cards.
    """

    records: int
    batch: int
    passes: int

    @property
    def images(self) -> int:
        """Images of an iteration."""
        return self.batch * self.passes

    def after(self, iterations: int) -> float:
        """How many epochs so many iterations are."""
        return iterations * self.images / self.records

    def iterations(self, epochs: float) -> int:
        """The least number of iterations that are so many epochs.

        Raises:
            CaffeCompatError: max_iter cannot hold it.
        """
        number = math.ceil(round(epochs * self.records / self.images, 6))  # 0.1 x 30 is 3, not 4
        if number > MOST_ITERATIONS:
            raise CaffeCompatError(
                f"{epochs:g} epochs are {number} iterations; a solver does at most {MOST_ITERATIONS}"
            )
        return number

    def describe(self, iterations: int) -> str:
        """The size of the data, of an iteration, and of so many iterations."""
        parts = f" (batch {self.batch} x {self.passes} passes)" if self.passes > 1 else ""
        return (
            f"{self.records:,} images, {self.images:,} an iteration{parts}; "
            f"{iterations} iterations are {self.after(iterations):.4g} epochs"
        )


def count_epochs(net: Net, passes: int) -> Epochs | None:
    """Of the first data layer of a net that reads the same records again and again; None where there is none.

    Args:
        passes: of an iteration.
    """
    for layer in net.layers:
        if layer.source is not None and layer.source.records:
            return Epochs(layer.source.records, layer.source.top_shapes[0][0], passes)
    return None


def need_epochs(net: Net, passes: int) -> Epochs:
    """The same.

    Raises:
        CaffeCompatError: there is none.
    """
    found = count_epochs(net, passes)
    if found is None:
        layers = [f"{layer.name!r} ({layer.type})" for layer in net.layers if layer.source is not None]
        raise CaffeCompatError(
            f"how many iterations an epoch has is not known: the data of {' and '.join(layers) or 'the net'} has no "
            "end that is known; give max_iter instead of epochs"
        )
    return found
