"""Iterations in epochs: how much of the training data an iteration takes."""

from __future__ import annotations

import math
from typing import NamedTuple

from caffecompat.data import Source
from caffecompat.errors import CaffeCompatError
from caffecompat.net import Net
from caffecompat.solver.ranks import Ranks

__all__ = ["MOST_ITERATIONS", "Epochs", "count_all_records", "count_epochs", "last_epoch_points", "need_epochs"]

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


def last_epoch_points(count: int, max_iter: int, epochs: Epochs | None) -> frozenset[int]:
    """The iterations before which test_and_snapshot_last_epochs asks for a test (NVCaffe 0.17, ``Solver::Step``).

    They are the last iteration, and those that follow the points `count` - 1, ..., 2, 1 epochs before the end.

    Args:
        count: the field's value.
        epochs: None where the size of the training data is not known; then there is the last one alone.
    """
    if count <= 0 or max_iter <= 0:
        return frozenset()
    points, following = [max_iter - 1], 1
    if epochs is None:
        return frozenset(points)
    for left in range(count - 1, 0, -1):
        within = max_iter - math.ceil(left * epochs.records / epochs.images)  # the last one before that
        following = max(following, within + 2)  # NVCaffe looks at the epochs of the iteration before
        points.append(following)
        following += 1
    return frozenset(point for point in points if point < max_iter)


def count_epochs(net: Net, passes: int) -> Epochs | None:
    """Of the first data layer of a net that reads the same records again and again; None where there is none.

    Args:
        passes: of an iteration.
    """
    for layer in net.layers:
        if layer.source is not None and layer.source.records:
            return Epochs(layer.source.records, layer.source.top_shapes[0][0], passes)
    return None


def count_all_records(net: Net, ranks: Ranks) -> None:
    """Let sources of which each process has its own say how many records all of them have."""
    for layer in net.layers:
        if isinstance(layer.source, Source) and layer.source.own:
            counts = ranks.all(layer.source.records)
            layer.source.records = None if None in counts else sum(counts)


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
