"""From a picture to what the net takes in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from caffecompat.errors import CaffeCompatError

__all__ = ["Preprocess"]


@dataclass(frozen=True)
class Preprocess:
    """How pixels become inputs: ``(pixel - mean) * scale - subtract``, channel by channel in B, G, R order.

    Caffe's transform_param has `mean` and `scale`. `subtract` is for scripts that scale first and then take
    something off, as those behind the segmentation tutorial's published pictures do: ``pixel * 0.022 - 0.284``.

    Attributes:
        mean, subtract: one value, or one a channel; empty for none.
        scale: the factor.
    """

    mean: tuple[float, ...] = ()
    scale: float = 1.0
    subtract: tuple[float, ...] = ()

    def __call__(self, picture: np.ndarray, height: int, width: int) -> np.ndarray:
        """A picture as a batch of one.

        Args:
            picture: (H, W, C) uint8 or uint16, BGR.
            height, width: the net's input; the picture is resized to it bilinearly, as floats, before anything else.

        Returns:
            (1, C, height, width) float32, a view of (1, height, width, C) memory.

        Raises:
            CaffeCompatError: `mean` or `subtract` has neither one value nor one a channel.
        """
        from caffecompat.formats.picture import resize_picture

        channels = picture.shape[2]
        pixels = resize_picture(picture.astype(np.float32), height, width)
        if self.mean:
            pixels = pixels - _per_channel(self.mean, channels, "mean")
        if self.scale != 1:
            pixels = pixels * np.float32(self.scale)
        if self.subtract:
            pixels = pixels - _per_channel(self.subtract, channels, "subtract")
        return np.ascontiguousarray(pixels).transpose(2, 0, 1)[None]


def _per_channel(values: Sequence[float], channels: int, name: str) -> np.ndarray:
    if len(values) not in (1, channels):
        raise CaffeCompatError(f"{name} has {len(values)} values for {channels} channel(s); give 1 or {channels}")
    return np.array(values, np.float32)
