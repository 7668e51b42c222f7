"""What the readers share whose pictures go through an `Augmentation`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from caffecompat.data.augment.augmentation import Augmentation, Augmented
from caffecompat.data.buffers import Buffers
from caffecompat.data.pixels import Pixels
from caffecompat.data.reader import Column, Columns, Reader
from caffecompat.data.source import Shape

__all__ = ["AugmentingReader"]


class AugmentingReader(Reader):
    """A reader whose records are changed as a transform_param says; the first column of its batches is the pictures."""

    _augmentation: Augmentation

    @property
    def augmentation(self) -> Augmentation:
        return self._augmentation

    @abstractmethod
    def redrawn(self, record: Any) -> Any:
        """The record with other random numbers, the next ones."""

    @staticmethod
    def augmented(sample: Any) -> Augmented:
        """What became of the record's picture, label picture and boxes; `sample` is from `read`."""
        found: Augmented = sample if isinstance(sample, Augmented) else sample.augmented
        return found

    def columns(self, shapes: Sequence[Shape], rows: int, buffers: Buffers) -> list[Column]:
        if not self.as_bytes:
            # Floats are made picture by picture, while each is in the cache. Processor time a picture against making
            # them of a whole batch, medians of 31 rounds in turns: LMDB of JPEGs 1024x512 as they are 6% less, SSD's
            # recipe at 300x300 2% less, crops of 227x227 1 to 3% more.
            return super().columns(shapes, rows, buffers)
        pictures = Pixels(buffers.take((rows, *shapes[0]), np.uint8), self._augmentation)
        return [pictures, *super().columns(shapes[1:], rows, buffers)]

    def write(self, sample: Any, columns: Columns, at: int) -> None:
        pictures, *others = columns
        augmented = self.augmented(sample)
        if isinstance(pictures, Pixels):
            pictures.write(augmented, at)
        else:
            rows = pictures[at : at + augmented.shape[0] // pictures.shape[1]]
            self._augmentation.place(augmented, rows.reshape(augmented.shape))
        self.write_labels(sample, [column for column in others if isinstance(column, np.ndarray)], at)

    @abstractmethod
    def write_labels(self, sample: Any, arrays: Sequence[np.ndarray], at: int) -> None:
        """Write all but the picture into the batch: into row `at` of each other column, as `write` does."""
