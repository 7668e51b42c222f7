"""Classes drawn over the picture they were found in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from caffecompat.report.palette import Palette

__all__ = ["legend", "overlay"]

_PAPER, _INK = 250, (40, 40, 40)


def overlay(picture: np.ndarray, classes: np.ndarray, palette: Palette, alpha: float = 0.5) -> np.ndarray:
    """Blend class colors over a picture.

    Args:
        picture: (H, W, 3) uint8, BGR.
        classes: (H, W) uint8.
        alpha: 0 shows the picture alone, 1 the colors alone.

    Returns:
        (H, W, 3) uint8.
    """
    import cv2

    colors = palette.paint(classes)
    return colors if alpha == 1 else cv2.addWeighted(picture, 1 - alpha, colors, alpha, 0)


def legend(palette: Palette, classes: Sequence[int], width: int) -> np.ndarray:
    """A strip (h, width, 3) uint8 with a colored square and the name of each of the classes, in rows."""
    import cv2

    size = float(np.clip(width / 1400, 0.35, 1.0))
    row = round(44 * size)
    font, pad = cv2.FONT_HERSHEY_SIMPLEX, row // 4
    items = [(index, palette.name(index)) for index in classes]
    lengths = [row + cv2.getTextSize(text, font, size, 1)[0][0] + 2 * pad for _, text in items]
    places: list[tuple[int, int]] = []
    x, line = pad, 0
    for length in lengths:
        if x + length > width and x > pad:
            x, line = pad, line + 1
        places.append((x, line * row))
        x += length
    strip = np.full(((line + 1) * row if items else 0, width, 3), _PAPER, np.uint8)
    for (index, text), (left, top) in zip(items, places, strict=True):
        color = [int(value) for value in palette.colors[index]]
        cv2.rectangle(strip, (left, top + pad), (left + row - 2 * pad, top + row - pad), color, -1)
        base = (left + row - pad, top + row - pad - pad // 2)
        cv2.putText(strip, text, base, font, size, _INK, 1, cv2.LINE_AA)
    return strip
