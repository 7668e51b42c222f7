"""Picture files to and from arrays, with the flags Caffe gives to OpenCV: (H, W, C), BGR, C also when 1."""

from __future__ import annotations

import os

import numpy as np

__all__ = ["decode_picture", "encode_picture", "read_picture", "resize_picture"]


def decode_picture(data: bytes | bytearray | memoryview, color: bool | None = True) -> np.ndarray | None:
    """Decode a JPEG, PNG, ... file; ``None`` when it cannot be read.

    Args:
        color: True: three channels (BGR); False: one, converted to grey; None: as the file has
            them, alpha and 16 bits included (Caffe's DecodeDatumToCVMatNative).

    Returns:
        (H, W, C) uint8 (uint16 only with None, from 16-bit files).
    """
    import cv2

    if not len(data):
        return None
    flag = cv2.IMREAD_UNCHANGED if color is None else cv2.IMREAD_COLOR if color else cv2.IMREAD_GRAYSCALE
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:
        return None
    return picture if picture is None or picture.ndim == 3 else picture[:, :, None]


def read_picture(path: str | os.PathLike[str], color: bool | None = True) -> np.ndarray | None:
    """Read a picture file as `decode_picture` does; ``None`` when it is missing or cannot be decoded."""
    try:
        with open(path, "rb") as file:
            return decode_picture(file.read(), color)
    except OSError:
        return None


def resize_picture(picture: np.ndarray, height: int, width: int, *, nearest: bool = False) -> np.ndarray:
    """Resize (H, W, C) to (height, width, C): bilinear as Caffe does everywhere, or nearest (label pictures)."""
    import cv2

    if picture.shape[:2] == (height, width):
        return picture
    resized = cv2.resize(picture, (width, height), interpolation=cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR)
    return resized.reshape(height, width, -1)


def encode_picture(picture: np.ndarray, kind: str) -> bytes | None:
    """Encode (H, W, C) as a "png", "jpg", ... file with OpenCV's default settings; ``None`` if impossible."""
    import cv2

    try:
        done, data = cv2.imencode("." + kind, picture)
    except cv2.error:
        return None
    return data.tobytes() if done else None
