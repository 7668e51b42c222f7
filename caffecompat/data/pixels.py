"""The pictures of one batch, which are bytes until the whole batch is there."""

from __future__ import annotations

import numpy as np

from caffecompat.data.augment.augmentation import Augmentation, Augmented
from caffecompat.data.transform import Window, copy_turned

__all__ = ["Pixels"]


class Pixels:
    """Pictures as bytes, cut and mirrored, and what makes floats of them.

    Bytes are a quarter of the memory to write and to copy to a device, and one call normalizes all of them. A picture
    that has no bytes (16 bits a channel, a Datum's float_data) waits in its own type.

    Args:
        array: (N, H, W, C) uint8, to be filled.
        augmentation: of the layer.

    Attributes:
        array: the pictures as far as they are written.
    """

    def __init__(self, array: np.ndarray, augmentation: Augmentation) -> None:
        self.array = array
        self._augmentation = augmentation
        self._windows: list[Window | None] = [None] * len(array)
        self._generators: dict[int, np.random.Generator] = {}
        self._others: dict[int, Augmented] = {}

    def write(self, augmented: Augmented, at: int) -> None:
        """Write one picture, or several on top of each other, from row `at` on; threads may write others."""
        if augmented.picture.dtype != np.uint8:
            self._others[at] = augmented
            return
        rows = self.array[at : at + augmented.shape[0] // self.array.shape[1]]
        copy_turned(augmented.picture, augmented.window, rows.reshape(augmented.shape))
        self._windows[at] = augmented.window
        if augmented.generator is not None:
            self._generators[at] = augmented.generator

    @property
    def linear(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Mean and factor, float32, (1) or (C) each, where floats are ``(pixel - mean) * factor`` and no more.

        None where that is not all: a mean picture, random_erase_param, or pictures that are no bytes.
        """
        return None if self._others or self._augmentation.erases else self._augmentation.transformer.linear

    def normalize(self, out: np.ndarray) -> None:
        """Write the floats of the whole batch.

        Args:
            out: (N, H, W, C) float32.
        """
        transformer = self._augmentation.transformer
        if transformer.linear is not None:
            transformer.normalize(_on_top(self.array), None, _on_top(out))
        else:
            for at, window in enumerate(self._windows):
                if window is not None:
                    transformer.normalize(self.array[at], window, out[at])
        for at, other in self._others.items():
            self._augmentation.place(other, out[at])
        for at, generator in self._generators.items():
            self._augmentation.erase(out[at], generator)


def _on_top(batch: np.ndarray) -> np.ndarray:
    """(N, H, W, C) as one picture (N*H, W, C)."""
    return batch.reshape(-1, *batch.shape[2:])
