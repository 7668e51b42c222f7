"""Pictures side by side, with titles and a legend."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from caffecompat.data.contact_sheet import contact_sheet
from caffecompat.report.overlay import legend
from caffecompat.report.palette import Palette

__all__ = ["comparison"]

_GAP = 12


def comparison(
    rows: Sequence[tuple[Sequence[np.ndarray], str]], titles: Sequence[str], palette: Palette, size: int = 256
) -> np.ndarray:
    """A sheet (H, W, 3) uint8 with a row a case and a column a title.

    Args:
        rows: pictures (H, W, 3) of one case, one a title, and its caption.
        palette: whose named classes the legend shows.
        size: larger side of each picture on the sheet.
    """
    import cv2

    sheet = contact_sheet(rows, columns=1, size=size, gap=_GAP)
    scale = size / 500  # letters that a reader of the whole sheet can read
    height = round(60 * scale)
    head = np.full((height, sheet.shape[1], 3), sheet[0, 0], np.uint8)
    for column, title in enumerate(titles):
        at = (_GAP // 2 + column * (size + _GAP), round(0.7 * height))
        cv2.putText(head, title, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (40, 40, 40), 1, cv2.LINE_AA)
    return np.vstack([head, sheet, legend(palette, range(len(palette.names)), sheet.shape[1])])
