"""Label pictures of data sets, read as class numbers and written as gray PNGs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from caffecompat.data.label_picture import LabelError, decode_labels
from caffecompat.data.lists.listing import Skipped
from caffecompat.errors import CaffeCompatError
from caffecompat.files import read_bytes
from caffecompat.formats.picture import encode_picture
from caffecompat.formats.picture_header import is_cut_off

__all__ = ["label_png", "read_labels"]


def read_labels(path: Path) -> np.ndarray:
    """The class numbers (H, W, 1) uint8 of a label picture, gray or with a palette.

    Raises:
        Skipped: it cannot be read, or shows no class numbers.
    """
    try:
        file = read_bytes(str(path))
        if is_cut_off(file):
            raise Skipped(f"{path} is cut off ({len(file)} bytes)")
        return decode_labels(file)
    except CaffeCompatError as problem:
        raise Skipped(str(problem)) from None
    except LabelError as problem:
        raise Skipped(f"{path} {problem}") from None


def label_png(labels: np.ndarray) -> bytes:
    """A gray PNG of class numbers (H, W, 1) uint8."""
    return encode_picture(labels, "png") or b""
