"""Boxes drawn over the picture they were found in."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from caffecompat.data.contact_sheet import class_colors

__all__ = ["draw_detections"]


def draw_detections(picture: np.ndarray, rows: np.ndarray, title: Callable[[int], str]) -> np.ndarray:
    """A copy of the picture with a box, its class and its score for each detection, the best on top.

    Args:
        picture: (H, W, 3) uint8, BGR.
        rows: (K, 6), rows [class, score, xmin, ymin, xmax, ymax] in units of the picture.
        title: the name of a class.

    Returns:
        (H, W, 3) uint8; lines and letters grow with the picture.
    """
    import cv2

    canvas = picture.copy()
    height, width = canvas.shape[:2]
    scale = float(np.clip(max(height, width) / 1000, 0.4, 2.0))
    thickness = max(1, round(2 * scale))
    colors = class_colors()
    for label, score, *box in rows[np.argsort(rows[:, 1], kind="stable")].tolist():
        color = colors[int(label) % 255].tolist() if int(label) % 255 else [200, 200, 200]
        left, top, right, bottom = (
            round(min(max(side, 0), 1) * (extent - 1)) for side, extent in zip(box, (width, height) * 2, strict=True)
        )
        cv2.rectangle(canvas, (left, top), (right, bottom), color, thickness)
        text = f"{title(int(label))} {score:.2f}"
        (long, high), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.6 * scale, 1)
        # Above the box, or inside it where there is no room above.
        low = top if top >= high + base + 2 else min(top + high + base + 2, height - 1)
        left = max(0, min(left, width - long - 2))
        cv2.rectangle(canvas, (left, low - high - base - 2), (left + long + 2, low), color, -1)
        ink = (0, 0, 0) if sum(color) > 380 else (255, 255, 255)
        at = (left + 1, low - base)
        cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.6 * scale, ink, 1, cv2.LINE_AA)
    return canvas
