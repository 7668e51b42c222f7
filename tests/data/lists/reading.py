"""What lists and label pictures hold."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def lines_of(path: str) -> list[str]:
    """The lines of a text file."""
    return Path(path).read_text().splitlines()


def labels_of(path: str | Path) -> np.ndarray:
    """A label picture, (H, W) uint8."""
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert found.ndim == 2 and found.dtype == np.uint8, "gray, eight bits"
    return found
