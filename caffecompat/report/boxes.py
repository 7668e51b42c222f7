"""Boxes drawn over the picture they were found in."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np

__all__ = ["box_color", "draw_detections"]

_SMALLEST_LETTERS = 11  # pixels; smaller ones cannot be read
_LETTERS = 0.018  # height of letters in a large picture, as a share of its larger side
_GOLDEN = 0.618034  # steps of the hue by which neighboring classes differ most

Color = tuple[int, int, int]


def draw_detections(
    picture: np.ndarray, rows: np.ndarray, title: Callable[[int], str], *, scores: bool = True
) -> np.ndarray:
    """A copy of the picture with a box, its class and its score for each detection, the best on top.

    Boxes are in bright colors with a dark edge, so that they show on any picture; lines and letters grow with the
    picture, and letters are never smaller than can be read.

    Args:
        picture: (H, W, 3) uint8, BGR.
        rows: (K, 6), rows [class, score, xmin, ymin, xmax, ymax] in units of the picture.
        title: the name of a class.
        scores: write them beside the names; labels have none.

    Returns:
        (H, W, 3) uint8.
    """
    import cv2

    canvas: np.ndarray = picture.copy()
    height, width = canvas.shape[:2]
    thickness = max(2, round(max(height, width) / 400))
    titles: list[tuple[str, int, int, Color]] = []
    for label, score, *box in rows[np.argsort(rows[:, 1], kind="stable")].tolist():
        color = box_color(int(label))
        left, top, right, bottom = (
            round(min(max(side, 0), 1) * (extent - 1)) for side, extent in zip(box, (width, height) * 2, strict=True)
        )
        for shade, line in (((0, 0, 0), thickness + 2), (color, thickness)):
            cv2.rectangle(canvas, (left, top), (right, bottom), shade, line)
        text = f"{title(int(label))} {score:.2f}" if scores else title(int(label))
        titles.append((text, left, top, color))
    for one in titles:  # after all boxes, so that none crosses a title
        _draw_title(canvas, *one)
    return canvas


def box_color(label: int) -> Color:
    """The color (B, G, R) of a class's boxes: bright, and unlike those of the next classes."""
    red, green, blue = colorsys.hsv_to_rgb(label * _GOLDEN % 1, 0.85, 1.0)
    return round(255 * blue), round(255 * green), round(255 * red)


def _draw_title(canvas: np.ndarray, text: str, left: int, top: int, color: Color) -> None:
    """Write on a strip of the box's color: above the box, or inside it where there is no room above."""
    import cv2

    height, width = canvas.shape[:2]
    letters = max(_SMALLEST_LETTERS, round(_LETTERS * max(height, width)))
    line = 1 if letters < 18 else 2
    font = cv2.FONT_HERSHEY_SIMPLEX
    scale = letters / cv2.getTextSize("H", font, 1.0, line)[0][1]
    (long, high), base = cv2.getTextSize(text, font, scale, line)
    strip = high + base + 4
    low = top if top >= strip else min(top + strip, height - 1)
    left = max(0, min(left, width - long - 5))
    cv2.rectangle(canvas, (left, low - strip), (left + long + 4, low), color, -1)
    blue, green, red = color
    ink = (0, 0, 0) if 0.114 * blue + 0.587 * green + 0.299 * red > 110 else (255, 255, 255)
    cv2.putText(canvas, text, (left + 2, low - base - 1), font, scale, ink, line, cv2.LINE_AA)
