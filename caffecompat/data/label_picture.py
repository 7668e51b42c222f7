"""Label pictures: one class number a pixel, however the file says it."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from caffecompat import glog
from caffecompat.formats.picture import PictureError, decode_picture

__all__ = ["LabelError", "decode_labels", "warn_of_gray_reading"]


class LabelError(ValueError):
    """A picture that does not hold class numbers."""


def decode_labels(file: bytes) -> np.ndarray:
    """Class numbers of a label picture: (H, W, 1) uint8.

    Taken are: gray pictures of up to 8 bits; 16 bits when all values are below 256; palette PNGs, whose
    indices are the numbers (Pascal VOC's; Caffe's own gray reading would give the palette's brightness);
    color pictures whose channels are equal.

    Raises:
        LabelError: it cannot be decoded, states too many pixels, or shows colors.
    """
    indices = _png_indices(file)
    if indices is not None:
        return indices
    picture = _decoded(file, None)
    if picture is None:
        raise LabelError(f"is not a picture that OpenCV can decode ({len(file)} bytes)")
    if picture.shape[2] > 1:
        if (picture[:, :, 1:3] != picture[:, :, :1]).any():
            raise LabelError("shows colors; expected one channel with the class number of each pixel")
        picture = picture[:, :, :1]
    if picture.dtype != np.uint8:
        if picture.max(initial=0) > 255:
            raise LabelError(f"has the value {picture.max()}; class numbers are at most 255")
        picture = picture.astype(np.uint8)
    return np.ascontiguousarray(picture)


def _decoded(file: bytes, color: bool | None) -> np.ndarray | None:
    try:
        return decode_picture(file, color)
    except PictureError as problem:
        raise LabelError(str(problem)) from None


def _png_indices(file: bytes) -> np.ndarray | None:
    """The pixel values of a PNG with a palette, or with fewer than 8 bits, as stored; None for other files.

    Decoders replace an index by its color and stretch few-bit grays to 0..255. Here the header is changed
    to plain gray and the palette left out, and the stretching undone.
    """
    if file[:8] != b"\x89PNG\r\n\x1a\n" or len(file) < 33 or file[25] not in (0, 3):
        return None
    bits, palette = file[24], file[25] == 3
    if bits > 8 or (bits == 8 and not palette):
        return None
    header = b"IHDR" + file[16:25] + b"\0" + file[26:29]
    gray = file[:12] + header + struct.pack(">I", zlib.crc32(header))
    at = 33
    while at + 8 <= len(file):
        (size,) = struct.unpack_from(">I", file, at)
        if file[at + 4 : at + 8] in (b"IDAT", b"IEND"):
            gray += file[at : at + 12 + size]
        at += 12 + size
    picture = _decoded(gray, False)
    if picture is None:
        raise LabelError("is a damaged PNG file")
    return picture if bits == 8 else picture // np.uint8(255 // ((1 << bits) - 1))


def warn_of_gray_reading(layer: str, path: str) -> None:
    """A warning where a label picture does not hold its class numbers as gray values, which is how Caffe reads it.

    Args:
        layer: its name, for the message.
        path: of a file; what is no PNG brings no warning.
    """
    try:
        with open(path, "rb") as file:
            what = _changed_by_gray_reading(file.read(26))
    except (OSError, ValueError):
        return  # an error of its own when it is read
    if what:
        glog.warning(
            f"{layer}: the label picture {path} has {what}, as in every Caffe; a database of 'caffecompat lmdb build' "
            "has the numbers themselves"
        )


def _changed_by_gray_reading(header: bytes) -> str:
    """What a PNG has, and what becomes of its numbers; "" where they stay as they are."""
    if header[:8] != b"\x89PNG\r\n\x1a\n" or len(header) < 26:
        return ""
    bits, kind = header[24], header[25]
    if kind == 3:
        return "a palette: labels are the brightness of its colors, not the numbers of the palette"
    if bits == 16:
        return "16 bits a value: labels are its upper 8, the number divided by 256"
    if bits < 8:
        return f"{bits} bits a value: labels are stretched to 0..255"
    return "colors: labels are their brightness" if kind in (2, 6) else ""
