"""Picture files to and from arrays, with the flags Caffe gives to OpenCV: (H, W, C), BGR, C also when 1."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

__all__ = ["decode_picture", "encode_picture", "is_cut_off", "picture_header", "read_picture", "resize_picture"]


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


def picture_header(data: bytes | bytearray | memoryview) -> tuple[str, tuple[int, int, int] | None]:
    """(kind, (C, H, W)) of a picture file from its first bytes; the shape only for "png" and "jpg", where it is cheap.

    Channels are those `decode_picture` gives with color None: a palette counts as colour.
    """
    head = bytes(data[:32])
    if head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) > 25:
        width, height = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
        return "png", ({0: 1, 4: 4, 6: 4}.get(head[25], 3), height, width)
    if head[:2] == b"\xff\xd8":
        return "jpg", _jpeg_shape(data)
    for kind, magic in (("bmp", b"BM"), ("gif", b"GIF8"), ("tif", b"II*\0"), ("tif", b"MM\0*"), ("webp", b"RIFF")):
        if head.startswith(magic):
            return kind, None
    return "unknown", None


def is_cut_off(data: bytes) -> bool:
    """Whether a PNG or JPEG file lacks its end mark; decoders fill the missing rest with grey without a word."""
    if data[:4] == b"\x89PNG":
        return b"IEND" not in data
    if data[:2] != b"\xff\xd8":
        return False
    scan = next((at for marker, at in _jpeg_segments(data) if marker == 0xDA), len(data))
    return data.find(b"\xff\xd9", scan) < 0


def _jpeg_segments(data: bytes | bytearray | memoryview) -> Iterator[tuple[int, int]]:
    """(marker, offset of the marker) of the segments up to the first scan; thumbnails lie inside segments."""
    at = 2
    while at + 3 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
            continue
        yield marker, at
        if marker == 0xDA:
            return
        at += 2 + (data[at + 2] << 8 | data[at + 3])


def _jpeg_shape(data: bytes | bytearray | memoryview) -> tuple[int, int, int] | None:
    """From the frame header (SOF segment, markers C0 to CF but for C4, C8 and CC)."""
    for marker, at in _jpeg_segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and at + 9 < len(data):
            height, width = data[at + 5] << 8 | data[at + 6], data[at + 7] << 8 | data[at + 8]
            return (1 if data[at + 9] == 1 else 3), height, width
    return None
