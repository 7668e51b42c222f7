"""Damage that a format's own checksums do not show, so that it reaches the code below them."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Sequence

from mutators import Mutator, mutate

__all__ = ["LEVELDB", "LMDB", "NPY", "PNG", "ZIP"]

_PNG_HEAD = b"\x89PNG\r\n\x1a\n"


# ------------------------------------------------------------------------- PNG


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """(kind, content) of a PNG's chunks."""
    chunks, at = [], len(_PNG_HEAD)
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    return chunks


def _png(chunks: Sequence[tuple[bytes, bytes]]) -> bytes:
    parts = [
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    ]
    return _PNG_HEAD + b"".join(parts)


def png_chunk(data: bytes, generator: random.Random) -> bytes:
    """A damaged chunk whose checksum is right."""
    chunks = _chunks(data)
    if not chunks:
        return data
    at = generator.randrange(len(chunks))
    chunks[at] = (chunks[at][0], mutate(chunks[at][1], generator))
    return _png(chunks)


def png_header(data: bytes, generator: random.Random) -> bytes:
    """Another size, depth or kind of pixels in the header, with the right checksum."""
    chunks = _chunks(data)
    if not chunks or len(chunks[0][1]) != 13:
        return data
    fields = list(struct.unpack(">IIBBBBB", chunks[0][1]))
    which = generator.randrange(5)
    fields[which] = generator.choice(
        (0, 1, 2, 3, 4, 6, 8, 16, *((1000, 20000, 1 << 20, 0x7FFFFFFF) if which < 2 else ()))
    )
    return _png([(b"IHDR", struct.pack(">IIBBBBB", *fields)), *chunks[1:]])


def png_rows(data: bytes, generator: random.Random) -> bytes:
    """Damaged pixels, packed again; or the packed bytes of too many or too few rows."""
    chunks = _chunks(data)
    packed = b"".join(content for kind, content in chunks if kind == b"IDAT")
    try:
        rows = zlib.decompress(packed)
    except zlib.error:
        return data
    kept = [chunk for chunk in chunks if chunk[0] not in (b"IDAT", b"IEND")]
    return _png([*kept, (b"IDAT", zlib.compress(mutate(rows, generator))), (b"IEND", b"")])


def png_order(data: bytes, generator: random.Random) -> bytes:
    """Chunks in another order, left out, or twice."""
    chunks = _chunks(data)
    if chunks:
        at = generator.randrange(len(chunks))
        moved = chunks.pop(at) if generator.random() < 0.7 else chunks[at]
        if generator.random() < 0.7:
            chunks.insert(generator.randrange(len(chunks) + 1), moved)
    return _png(chunks)


PNG: tuple[Mutator, ...] = (png_chunk, png_header, png_header, png_rows, png_order)


# ------------------------------------------------------------------------ LMDB

_PAGE = 4096
_SMALL = (0, 1, 2, 3, 5, 15, 16, 17, 255, 4094, 4095, 4096, 4097, 0x7FFF, 0xFFFF)


def _replaced(data: bytes, at: int, number: int, size: int) -> bytes:
    return data[:at] + (number % (1 << 8 * size)).to_bytes(size, "little") + data[at + size :]


def lmdb_page_head(data: bytes, generator: random.Random) -> bytes:
    """Another number, kind or end of free space in a page's head."""
    page = generator.randrange(max(1, len(data) // _PAGE)) * _PAGE
    at, size = generator.choice(((0, 8), (10, 2), (12, 2), (14, 2), (12, 4)))
    return _replaced(data, page + at, generator.choice(_SMALL), size)


def lmdb_node(data: bytes, generator: random.Random) -> bytes:
    """Another place, size, flag or page number of a page's record."""
    pages = [at for at in range(2 * _PAGE, len(data) - _PAGE + 1, _PAGE) if data[at + 10] in (1, 2)]
    if not pages:
        return data
    page = generator.choice(pages)
    count = max(1, (int.from_bytes(data[page + 12 : page + 14], "little") - 16) // 2)
    place = page + 16 + 2 * generator.randrange(min(count, 2000))
    if generator.random() < 0.3:
        return _replaced(data, place, generator.choice(_SMALL), 2)
    node = page + int.from_bytes(data[place : place + 2], "little")
    if generator.random() < 0.3:  # the number of an overflow page comes after the key
        behind = node + 8 + int.from_bytes(data[node + 6 : node + 8], "little")
        return _replaced(data, behind, generator.choice((*range(12), 1 << 40)), 8)
    return _replaced(data, node + 2 * generator.randrange(4), generator.choice(_SMALL), 2)


def lmdb_meta(data: bytes, generator: random.Random) -> bytes:
    """Another number in one of the meta pages, or in both."""
    at = 16 + 8 * generator.randrange(17)
    number = generator.choice((*range(20), 4096, 1 << 20, 1 << 40, (1 << 64) - 1))
    for page in generator.choice(((0,), (_PAGE,), (0, _PAGE))):
        data = (
            _replaced(data, page + at, number, 8) if generator.random() < 0.8 else _replaced(data, page + at, number, 2)
        )
    return data


def lmdb_swap_pages(data: bytes, generator: random.Random) -> bytes:
    """A page written over another one, its own number put right."""
    count = len(data) // _PAGE
    if count < 4:
        return data
    source, target = generator.randrange(2, count) * _PAGE, generator.randrange(2, count) * _PAGE
    page = struct.pack("<Q", target // _PAGE) + data[source + 8 : source + _PAGE]
    return data[:target] + page + data[target + _PAGE :]


LMDB: tuple[Mutator, ...] = (lmdb_page_head, lmdb_node, lmdb_node, lmdb_node, lmdb_meta, lmdb_swap_pages)


# --------------------------------------------------------------------- LevelDB


def _crc32c_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_CRC32C = _crc32c_table()


def masked_crc32c(data: bytes) -> int:
    """LevelDB's checksum."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC32C[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def leveldb_log_entry(data: bytes, generator: random.Random) -> bytes:
    """A damaged entry of a log or manifest whose checksum is right."""
    places, at = [], 0
    while at + 7 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 6], "little")
        if not size or at + 7 + size > len(data):
            break
        places.append((at, size))
        at += 7 + size
    if not places:
        return data
    at, size = generator.choice(places)
    content = mutate(data[at + 7 : at + 7 + size], generator)[:size].ljust(size, b"\0")
    entry = data[at + 6 : at + 7] + content
    return data[:at] + struct.pack("<IH", masked_crc32c(entry), size) + entry + data[at + 7 + size :]


LEVELDB: tuple[Mutator, ...] = (leveldb_log_entry,)


# -------------------------------------------------------------------- ZIP, npy


def zip_entry(data: bytes, generator: random.Random) -> bytes:
    """An archive with a damaged entry, its checksum right: .npz and torch's .pth."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [(entry, archive.read(entry)) for entry in archive.infolist()]
    except Exception:  # it is damaged already
        return data
    if not entries:
        return data
    damaged = generator.randrange(len(entries))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number, (entry, content) in enumerate(entries):
            if number == damaged:
                content = mutate(content, generator, NPY)
            fresh = zipfile.ZipInfo(entry.filename)
            fresh.compress_type = generator.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
            archive.writestr(fresh, content)
    return out.getvalue()


_HEADERS = (
    "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 9)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 2)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': ()}",
    "{'descr': '<f4', 'fortran_order': True, 'shape': (0, 3)}",
    "{'descr': '|O', 'fortran_order': False, 'shape': (2,)}",
    "{'descr': '<U5', 'fortran_order': False, 'shape': (2,)}",
    "{'descr': [('a', '<f4'), ('b', '|O')], 'fortran_order': False, 'shape': (2,)}",
    "{'descr': '<c8', 'fortran_order': False, 'shape': (2,)}",
    "{'descr': '<M8[s]', 'fortran_order': False, 'shape': (2,)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1e3,)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1," * 70 + ")}",
    "[" * 200,
    "(" * 9000,
    "{'descr': '<f4'",
    "__import__('os').getcwd()",
)


def npy_header(data: bytes, generator: random.Random) -> bytes:
    """Another header in front of the same values."""
    if data[:6] != b"\x93NUMPY":
        return data
    end = 10 + int.from_bytes(data[8:10], "little")
    header = generator.choice(_HEADERS).encode() + b"\n"
    return data[:8] + struct.pack("<H", len(header)) + header + data[end:]


NPY: tuple[Mutator, ...] = (npy_header,)
ZIP: tuple[Mutator, ...] = (zip_entry, zip_entry, zip_entry)
