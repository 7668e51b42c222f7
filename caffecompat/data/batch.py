"""One batch in the making."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from caffecompat.data.buffers import Buffers
from caffecompat.data.pixels import Pixels
from caffecompat.data.reader import Column
from caffecompat.data.source import Shape
from caffecompat.resumable import State

__all__ = ["Batch"]


@dataclass(eq=False)
class Batch:
    """One batch in the making."""

    size: int
    unfinished: int
    shapes: list[Shape] = field(default_factory=list)
    columns: list[Column] = field(default_factory=list)
    pieces: list[Any] = field(default_factory=list)
    ready: bool = False  # to be handed out, or failed
    allocated: threading.Event = field(default_factory=threading.Event)
    first: str = ""
    records: list[tuple[Any, int]] = field(default_factory=list)  # of each row, and which of its rows that is
    state: State = field(default_factory=dict)  # the reader's after this batch
    error: BaseException | None = None
    error_at: int = 0
    left_out: bool = False  # another process reads it

    def fail(self, at: int, error: BaseException) -> None:
        """Of several errors the one of the earliest record counts."""
        if self.error is None or at < self.error_at:
            self.error, self.error_at = error, at

    def normalize(self, buffers: Buffers) -> None:
        """Make floats of pictures that are bytes."""
        for place, column in enumerate(self.columns):
            if isinstance(column, Pixels):
                floats = buffers.take(column.array.shape)
                column.normalize(floats)
                self.columns[place] = floats

    def tops(self) -> tuple[Any, ...]:
        """The columns as the tops have them: (N, C, H, W) where they are floats of pictures."""
        return tuple(_as_top(column) for column in self.columns)

    def mismatch(self, record: str, shapes: list[Shape]) -> str:
        """What to say where the record's shapes are not those of the first of the batch."""
        place = next(k for k, (one, other) in enumerate(zip(shapes, self.shapes, strict=True)) if one != other)
        one, other = ("x".join(map(str, shape)) for shape in (shapes[place], self.shapes[place]))
        return (
            f"{record} is {one}, but the first of the batch, {self.first}, is {other} (height x width x channels): "
            f"the records of a batch must have one size (new_height and new_width, a crop, or batch_size: 1)"
        )


def _as_top(column: Column) -> Column:
    if isinstance(column, Pixels) or column.ndim != 4:
        return column
    top: np.ndarray = column.transpose(0, 3, 1, 2)
    return top
