"""Picture files, whole."""

from __future__ import annotations

import cv2
import numpy as np

from caffecompat.errors import CaffeCompatError
from caffecompat.files import read_bytes
from caffecompat.formats.picture import PictureError, decode_picture
from caffecompat.formats.picture_header import is_cut_off

__all__ = ["gray", "read_picture_file"]


def read_picture_file(path: str) -> np.ndarray:
    """A picture file as (H, W, 3) uint8, BGR.

    Raises:
        CaffeCompatError: it cannot be read.
    """
    data = read_bytes(path)
    try:
        picture = decode_picture(data)
    except PictureError as problem:
        raise CaffeCompatError(f"{path}: {problem}") from None
    if picture is None:
        raise CaffeCompatError(f"{path} is not a picture that OpenCV can decode ({len(data)} bytes)")
    if is_cut_off(data):
        raise CaffeCompatError(f"{path} is cut off: the picture's end is missing after {len(data)} bytes")
    return picture


def gray(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) as (H, W, 1)."""
    return cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)[:, :, None]
