"""JPEG files of which only the upper rows are decoded, because a crop looks at no others."""

from __future__ import annotations

import numpy as np

from caffecompat.formats.picture_header import jpeg_segments

__all__ = ["without_lower_rows"]

# The last row that a decoder makes differs where it smooths colors across rows, for it lacks the next one's.
_MARGIN = 8
_SEQUENTIAL = (0xC0, 0xC1)  # frame headers of Huffman-coded files without progressive scans
_EXIF, _RESTARTS, _SCAN = 0xE1, 0xDD, 0xDA
_END = 0xFF, 0xD9
_PADDING = bytes(64)  # of which decoders read some in advance


def without_lower_rows(data: bytes | bytearray | memoryview, rows: int) -> bytearray | None:
    """A JPEG file whose header states little more than `rows` rows, which decode as those of the whole file do.

    A decoder goes through the rows from the top, and ends where the header says. Instead of the end mark come zeros: of
    bytes before that mark which it has no use for libjpeg complains.

    Returns:
        The file; None where it has hardly more rows, or where the rows of the picture may not be those of the file: one
        that is progressive, is turned by Exif, has restart marks, several scans or pictures, or is cut off.
    """
    place = components = 0
    scan = None
    for marker, at in jpeg_segments(data):
        if marker in _SEQUENTIAL:
            place, components = at + 5, data[at + 9]
        elif (marker == _EXIF and bytes(data[at + 4 : at + 8]) == b"Exif") or marker == _RESTARTS:
            return None
        elif marker == _SCAN:
            scan = at
    if not place or scan is None or data[scan + 4] != components:
        return None
    height = rows + _MARGIN
    if height >= data[place] << 8 | data[place + 1]:
        return None
    file = bytearray(data)
    if not _ends_once(np.frombuffer(file, np.uint8)[scan:]):
        return None
    file[place : place + 2] = height.to_bytes(2, "big")
    file[-len(_END) :] = _PADDING
    return file


def _ends_once(scan: np.ndarray) -> bool:
    """Whether the end mark is at the end of these bytes and nowhere else; ten times as fast as `bytes.find`."""
    marks = (scan[:-1] == _END[0]) & (scan[1:] == _END[1])
    return bool(marks[-1]) and np.count_nonzero(marks) == 1
