"""MATLAB's .mat files (level 5): one array of float32, as MatWrite writes them; others are read by scipy."""

from __future__ import annotations

import os
import struct
from importlib.util import find_spec
from typing import Any

import numpy as np

from caffecompat.errors import CaffeCompatError, brief
from caffecompat.formats.atomic import atomic_write

__all__ = ["MatError", "has_scipy", "need_scipy", "read_mat", "read_mat_table", "write_mat"]

_MATRIX, _INT8, _INT32, _UINT32, _SINGLE = 14, 1, 5, 6, 7  # data types of the format
_SINGLE_CLASS = 7
_TEXT = b"MATLAB 5.0 MAT-file, written by caffecompat"


class MatError(CaffeCompatError):
    """A .mat file that cannot be read."""


def has_scipy() -> bool:
    """Whether .mat files can be read here."""
    try:
        return find_spec("scipy") is not None
    except ValueError:  # sys.modules["scipy"] is None
        return False


def need_scipy() -> None:
    """Check that .mat files can be read.

    Raises:
        MatError: scipy is not installed.
    """
    if not has_scipy():
        raise MatError(
            "MATLAB's .mat files need the module scipy, which is not installed: pip install 'caffecompat[sbd]'"
        )


def read_mat(path: str | os.PathLike[str], variable: str, field: str) -> np.ndarray:
    """A field of a variable that is a struct, such as Segmentation of GTcls.

    Raises:
        MatError: the file cannot be read or has no such field, or scipy is not installed.
    """
    value = getattr(_variable(path, variable), field, None)
    if value is None:
        raise MatError(f"{os.fspath(path)}: {variable} has no field {field}")
    return np.asarray(value)


def read_mat_table(path: str | os.PathLike[str], variable: str, *fields: str) -> list[tuple[Any, ...]]:
    """The fields of each struct of an array of structs, such as WNID of synsets.

    Raises:
        MatError: as of `read_mat`.
    """
    rows = np.atleast_1d(_variable(path, variable))
    try:
        return [tuple(getattr(row, field) for field in fields) for row in rows]
    except AttributeError as problem:
        raise MatError(f"{os.fspath(path)}: {variable}: {brief(problem)}") from None


def _variable(path: str | os.PathLike[str], name: str) -> Any:
    need_scipy()
    from scipy.io import loadmat

    try:
        found = loadmat(path, squeeze_me=True, struct_as_record=False, variable_names=[name]).get(name)
    except OSError as problem:
        raise MatError(f"cannot read {os.fspath(path)}: {problem.strerror or problem}") from None
    except Exception as problem:  # scipy has no one type for damaged files
        raise MatError(f"{os.fspath(path)} is not a .mat file, or damaged: {brief(problem)}") from None
    if found is None:
        raise MatError(f"{os.fspath(path)} has no variable {name}")
    return found


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
