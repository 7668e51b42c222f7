"""MATLAB's .mat files (level 5): one array of float32, as MatWrite writes them."""

from __future__ import annotations

import os
import struct

import numpy as np

from caffecompat.formats.atomic import atomic_write

__all__ = ["write_mat"]

_MATRIX, _INT8, _INT32, _UINT32, _SINGLE = 14, 1, 5, 6, 7  # data types of the format
_SINGLE_CLASS = 7
_TEXT = b"MATLAB 5.0 MAT-file, written by caffecompat"


def write_mat(path: str | os.PathLike[str], values: np.ndarray, name: str = "data") -> None:
    """Write an array as the variable `name`.

    Args:
        values: of any shape, written as float32. MATLAB's arrays begin with the axis that runs fastest, so that
            (N, C, H, W) becomes W x H x C x N there, as Caffe's Blob::ToMat has it.

    Raises:
        WriteError: the file cannot be written; an old one stays whole.
    """
    values = np.ascontiguousarray(values, "<f4")
    shape = (*values.shape[::-1], 1, 1)[: max(2, values.ndim)]
    elements = (
        _element(_UINT32, struct.pack("<II", _SINGLE_CLASS, 0)),
        _element(_INT32, struct.pack(f"<{len(shape)}i", *shape)),
        _element(_INT8, name.encode("ascii")),
        _element(_SINGLE, values.tobytes()),
    )
    header = _TEXT.ljust(124) + struct.pack("<H2s", 0x0100, b"IM")
    with atomic_write(path) as file:
        file.write(header + _element(_MATRIX, b"".join(elements)))


def _element(kind: int, data: bytes) -> bytes:
    """A data element: its type, its size without the filling, and the data filled up to eight bytes."""
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)
