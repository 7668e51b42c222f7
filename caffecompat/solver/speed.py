"""How many images a second a training takes in, and how much of its time it waits for them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from caffecompat.net import Net

__all__ = ["Speed"]


@dataclass(eq=False)
class Speed:
    """A clock that counts since its last lap; tests and snapshots stop it.

    Nothing here waits for a GPU. A lap is taken where the loss is shown, which has waited.

    Attributes:
        net: the train net.
        batches: of an iteration, those of all processes.
    """

    net: Net
    batches: int

    def __post_init__(self) -> None:
        self._paused = False
        self.begin(0)

    def begin(self, iteration: int) -> None:
        """A new lap, from `iteration` on."""
        self._start, self._iteration, self._stopped = time.perf_counter(), iteration, 0.0
        self._waited = self.net.seconds_reading

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is done inside is no training; a pause in a pause is part of it."""
        if self._paused:
            yield
            return
        self._paused, start = True, time.perf_counter()
        try:
            yield
        finally:
            self._paused = False
            self._stopped += time.perf_counter() - start

    def describe(self, iteration: int, *, short: bool = False) -> str:
        """Images a second since the lap began and the share of time that went into waiting; "" where there are none."""
        seconds = time.perf_counter() - self._start - self._stopped
        images = self._images * (iteration - self._iteration)
        if not images or seconds <= 0:
            return ""
        share = min(1.0, (self.net.seconds_reading - self._waited) / seconds)
        waiting = "waiting" if short else "of the time waiting for data"
        return f"{images / seconds:.4g} images/s, {100 * share:.0f}% {waiting}"

    @property
    def _images(self) -> int:
        """Of an iteration: those of the first data layer; 0 where there is none."""
        shapes = [layer.source.top_shapes[0] for layer in self.net.layers if layer.source is not None]
        return self.batches * shapes[0][0] if shapes and shapes[0] else 0
