"""Picture files to and from arrays, with the flags Caffe gives to OpenCV: (H, W, C), BGR, C also when 1."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np

from caffecompat.errors import CaffeCompatError, brief
from caffecompat.formats.jpeg_rows import without_lower_rows
from caffecompat.formats.picture_header import is_impossible, picture_size

__all__ = [
    "PICTURES", "PictureError", "Rows", "check_size", "decode_picture", "decode_rows", "encode_picture",
    "read_picture", "read_rows", "resize_picture",
]  # fmt: skip

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
"""Endings of the picture files that are looked for in folders."""

Rows = Callable[[int, int], int]
"""How many rows, from the top, are wanted of a picture of that height and width."""

# A small file can announce gigabytes of pixels, by damage or on purpose.
_MAX_PIXELS, _MAX_PIXELS_SETTING = 1 << 28, "CAFFECOMPAT_MAX_PIXELS"


class PictureError(CaffeCompatError):
    """A picture of more pixels than are allowed."""


def check_size(height: int, width: int, what: str = "the picture") -> None:
    """Refuse a size of more than 2^28 pixels, or than the environment variable CAFFECOMPAT_MAX_PIXELS says.

    Args:
        what: has that size, for the message.

    Raises:
        PictureError: it is larger; or the variable is no number.
    """
    text = os.environ.get(_MAX_PIXELS_SETTING, "")
    if text and not (text.isdecimal() and len(text) < 16):
        raise PictureError(f"{_MAX_PIXELS_SETTING}={text}: expected a number of pixels")
    most = int(text or _MAX_PIXELS)
    if height * width > most:
        raise PictureError(
            f"{what} is {width} wide and {height} high: {height * width:,} pixels are more than the {most:,} allowed "
            f"(set {_MAX_PIXELS_SETTING} to a larger number where that is right)"
        )


def decode_picture(data: bytes | bytearray | memoryview, color: bool | None = True) -> np.ndarray | None:
    """Decode a JPEG, PNG, ... file; ``None`` when it cannot be read.

    Args:
        color: True: three channels (BGR); False: one, converted to gray; None: as the file has
            them, alpha and 16 bits included (Caffe's DecodeDatumToCVMatNative).

    Returns:
        (H, W, C) uint8 (uint16 only with None, from 16-bit files).

    Raises:
        PictureError: its header states more pixels than `check_size` allows; nothing was decoded.
    """
    found = decode_rows(data, color)
    return None if found is None else found[0]


def decode_rows(
    data: bytes | bytearray | memoryview, color: bool | None = True, rows: Rows | None = None
) -> tuple[np.ndarray, int] | None:
    """Decode a file as `decode_picture` does, but for rows at the bottom that nobody wants, where that saves time.

    Returns:
        (h, W, C) with the wanted rows, or more; and the height of the whole picture.
    """
    if not len(data):
        return None
    if is_impossible(data):
        return None
    size = picture_size(data)
    if size is not None:
        check_size(*size)
        upper = without_lower_rows(data, rows(*size)) if rows is not None else None
        picture = None if upper is None else _decoded(upper, color)
        if picture is not None:
            return picture, size[0]
    picture = _decoded(data, color)
    return None if picture is None else (picture, picture.shape[0])


def _decoded(data: bytes | bytearray | memoryview, color: bool | None) -> np.ndarray | None:
    import cv2

    flag = cv2.IMREAD_UNCHANGED if color is None else cv2.IMREAD_COLOR if color else cv2.IMREAD_GRAYSCALE
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:
        return None
    return picture if picture is None or picture.ndim == 3 else picture[:, :, None]


def read_picture(path: str | os.PathLike[str], color: bool | None = True) -> np.ndarray | None:
    """Read a picture file as `decode_picture` does; ``None`` when it is missing or cannot be decoded."""
    found = read_rows(path, color)
    return None if found is None else found[0]


def read_rows(
    path: str | os.PathLike[str], color: bool | None = True, rows: Rows | None = None
) -> tuple[np.ndarray, int] | None:
    """Read a picture file as `decode_rows` does; ``None`` when it is missing or cannot be decoded."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (OSError, ValueError):  # of names with a zero byte
        return None
    try:
        return decode_rows(data, color, rows)
    except PictureError as problem:
        raise PictureError(f"{os.fspath(path)}: {problem}") from None


def resize_picture(
    picture: np.ndarray, height: int, width: int, *, nearest: bool = False, interpolation: int | None = None
) -> np.ndarray:
    """Resize (H, W, C) to (height, width, C): bilinear as Caffe does everywhere, or nearest (label pictures).

    Args:
        interpolation: another one of OpenCV's.

    Raises:
        PictureError: the new size is more than `check_size` allows, or OpenCV cannot do it.
    """
    import cv2

    if picture.shape[:2] == (height, width):
        return picture
    check_size(height, width, "the resized picture")
    if interpolation is None:
        interpolation = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    try:
        resized = cv2.resize(picture, (width, height), interpolation=interpolation)
    except cv2.error as problem:
        sizes = f"{picture.shape[0]}x{picture.shape[1]} to {height}x{width} (height x width)"
        raise PictureError(f"cannot resize a picture of {sizes}: {brief(problem)}") from None
    return resized.reshape(height, width, -1)


def encode_picture(picture: np.ndarray, kind: str) -> bytes | None:
    """Encode (H, W, C) as a "png", "jpg", ... file with OpenCV's default settings; ``None`` if impossible."""
    import cv2

    try:
        done, data = cv2.imencode("." + kind, picture)
    except cv2.error:
        return None
    return data.tobytes() if done else None
