"""What the readers share whose pictures go through an `Augmentation`."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from caffecompat.data.augment.augmentation import Augmentation, Augmented
from caffecompat.data.loader import Reader

__all__ = ["AugmentingReader"]


class AugmentingReader(Reader):
    """A reader whose records are changed as a transform_param says; the first array it writes is the pictures'."""

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
