"""What a picture file says about itself in its first bytes: kind, size, and whether its end is there.

Sizes are read for every format that OpenCV decodes, so that a file of a few kilobytes which announces gigabytes of
pixels is refused before memory is asked for.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator

__all__ = ["is_cut_off", "is_impossible", "jpeg_segments", "picture_header", "picture_size"]

Buffer = bytes | bytearray | memoryview
_MOST_MISSING = 1 << 24
_HEAD = 4096  # of formats whose size comes after blocks or comments


def picture_header(data: Buffer) -> tuple[str, tuple[int, int, int] | None]:
    """(kind, (C, H, W)) of a picture file from its first bytes; the shape only for "png" and "jpg", where it is cheap.

    Channels are those `decode_picture` gives with color None: a palette counts as color.
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


def picture_size(data: Buffer) -> tuple[int, int] | None:
    """(height, width) that the header of a picture file states; None where it states none that is understood.

    Of a file with several pictures it is the largest that the decoder makes room for.
    """
    head = bytes(data[:32])
    for magic, size in _SIZES:
        if re.match(magic, head, re.DOTALL):
            try:
                return size(data)
            except (IndexError, ValueError, struct.error):
                return None
    return None


def is_cut_off(data: Buffer) -> bool:
    """Whether a PNG or JPEG file lacks its end mark; decoders fill the missing rest with gray without a word."""
    data = bytes(data)
    if data[:4] == b"\x89PNG":
        return b"IEND" not in data
    if data[:2] != b"\xff\xd8":
        return False
    scan = next((at for marker, at in jpeg_segments(data) if marker == 0xDA), len(data))
    return data.find(b"\xff\xd9", scan) < 0


def is_impossible(data: Buffer) -> bool:
    """Whether a PNG has a chunk that claims far more bytes than the file has, for which decoders ask for memory first.

    OpenCV 5 works on 4 GB of zeros for half a minute there. A file that is only cut off is not meant.
    """
    at = 8
    if bytes(data[:4]) != b"\x89PNG":
        return False
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        at += 12 + size
        if size >= 1 << 31 or at - len(data) > _MOST_MISSING:
            return True
    return False


def jpeg_segments(data: Buffer) -> Iterator[tuple[int, int]]:
    """(marker, offset of the marker) of the segments up to the first scan; thumbnails lie inside segments.

    What is between two segments is passed over, as decoders do.
    """
    at = 2
    while at + 3 < len(data):
        marker = data[at + 1]
        if data[at] != 0xFF or marker in (0, 0xFF):
            at += 1
            continue
        yield marker, at
        if marker == 0xDA:
            return
        at += 2 if 0xD0 <= marker <= 0xD8 or marker == 1 else 2 + (data[at + 2] << 8 | data[at + 3])


def _jpeg_shape(data: Buffer) -> tuple[int, int, int] | None:
    """From the frame header (SOF segment, markers C0 to CF but for C4, C8 and CC)."""
    for marker, at in jpeg_segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and at + 9 < len(data):
            height, width = data[at + 5] << 8 | data[at + 6], data[at + 7] << 8 | data[at + 8]
            return (1 if data[at + 9] == 1 else 3), height, width
    return None


def _jpeg(data: Buffer) -> tuple[int, int] | None:
    shape = _jpeg_shape(data)
    return None if shape is None else shape[1:]


def _png(data: Buffer) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", data, 16)
    return height, width


def _bmp(data: Buffer) -> tuple[int, int]:
    if struct.unpack_from("<I", data, 14)[0] == 12:  # of OS/2
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return abs(height), abs(width)


def _gif(data: Buffer) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, 6)
    return height, width


def _webp(data: Buffer) -> tuple[int, int] | None:
    kind = bytes(data[12:16])
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return height & 0x3FFF, width & 0x3FFF
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if kind == b"VP8X":
        return int.from_bytes(data[27:30], "little") + 1, int.from_bytes(data[24:27], "little") + 1
    return None


def _tiff(data: Buffer) -> tuple[int, int] | None:
    """From the first directory of a TIFF or BigTIFF file."""
    order = "<" if data[0] == 0x49 else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    at = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    count = struct.unpack_from(order + ("Q" if big else "H"), data, at)[0]
    at += 8 if big else 2
    found = {}
    for entry in range(min(count, 4096)):
        tag, kind = struct.unpack_from(order + "HH", data, at + entry * (20 if big else 12))
        code = {1: "B", 3: "H", 4: "I", 16: "Q"}.get(kind)
        if tag in (256, 257) and code is not None:
            found[tag] = struct.unpack_from(order + code, data, at + entry * (20 if big else 12) + (12 if big else 8))[
                0
            ]
    return (found[257], found[256]) if len(found) == 2 else None


def _netpbm(data: Buffer) -> tuple[int, int]:
    """PBM, PGM, PPM, PFM: words between blanks and comments after the magic number."""
    words = re.sub(rb"#[^\r\n]*", b"", bytes(data[:_HEAD])).split()
    return int(words[2]), int(words[1])


def _pam(data: Buffer) -> tuple[int, int] | None:
    sizes = {name: int(value) for name, value in re.findall(rb"\b(WIDTH|HEIGHT)\s+(\d{1,18})", bytes(data[:_HEAD]))}
    return (sizes[b"HEIGHT"], sizes[b"WIDTH"]) if len(sizes) == 2 else None


def _radiance(data: Buffer) -> tuple[int, int] | None:
    found = re.search(rb"[-+][XY]\s+(\d{1,18})\s+[-+][XY]\s+(\d{1,18})", bytes(data[:_HEAD]))
    return None if found is None else (int(found[1]), int(found[2]))


def _sun(data: Buffer) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", data, 4)
    return height, width


def _jpeg2000_stream(data: Buffer, at: int = 0) -> tuple[int, int]:
    """From the SIZ segment that a codestream begins with: the grid's size less the picture's offset on it."""
    width, height, left, top = struct.unpack_from(">IIII", data, at + 8)
    return height - top, width - left


def _jpeg2000(data: Buffer) -> tuple[int, int] | None:
    """From the codestream in the boxes of a JP2 file: the decoder goes by it, not by the box that repeats the size."""
    at = bytes(data).find(b"\xff\x4f\xff\x51")
    return None if at < 0 else _jpeg2000_stream(data, at)


def _avif(data: Buffer) -> tuple[int, int] | None:
    """The largest of the sizes (boxes "ispe") of the pictures, tiles and planes inside."""
    found = [
        struct.unpack(">II", match[1])[::-1]
        for match in re.finditer(rb"ispe\0{4}(.{8})", bytes(data[: 1 << 16]), re.DOTALL)
    ]
    return max(found, key=lambda size: size[0] * size[1], default=None)


_Size = Callable[[Buffer], tuple[int, int] | None]
_SIZES: tuple[tuple[bytes, _Size], ...] = (
    (rb"\x89PNG\r\n\x1a\n", _png),
    (rb"\xff\xd8", _jpeg),
    (rb"BM", _bmp),
    (rb"GIF8", _gif),
    (rb"RIFF....WEBP", _webp),
    (rb"II[*+]\0|MM\0[*+]", _tiff),
    (rb"P[1-6]|P[Ff]", _netpbm),
    (rb"P7", _pam),
    (rb"#\?R", _radiance),
    (rb"\x59\xa6\x6a\x95", _sun),
    (rb"\xff\x4f\xff\x51", _jpeg2000_stream),
    (rb"\0\0\0\x0cjP  ", _jpeg2000),
    (rb"....ftypavi", _avif),
)
