"""NumPy's .npy: one array of numbers."""

from __future__ import annotations

import math
import os
from typing import IO

import numpy as np

from caffecompat.errors import CaffeCompatError, brief

__all__ = ["check_numbers", "read_array", "read_npy"]


def read_array(path: str | os.PathLike[str], refusal: type[CaffeCompatError] = CaffeCompatError) -> np.ndarray:
    """The array of a .npy file: whole numbers, floating point or truth values in any shape.

    Raises:
        refusal: the file cannot be read, is none, is damaged or holds something else; names the file.
    """
    name = os.fspath(path)
    try:
        with open(name, "rb") as file:
            return read_npy(file, os.fstat(file.fileno()).st_size)
    except OSError as problem:
        raise refusal(f"{name}: cannot be read: {problem.strerror or brief(problem)}") from None
    except Exception as problem:  # NumPy parses the header as Python: SyntaxError, TokenError, RecursionError, ...
        raise refusal(f"{name}: cannot be read as .npy: {brief(problem)}") from None


def read_npy(file: IO[bytes], size: int) -> np.ndarray:
    """The array of an open .npy file of `size` bytes; nothing is unpickled.

    Raises:
        Exception: of many kinds, where it is not what it should be.
    """
    if not size:
        raise ValueError("it is empty")
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    check_numbers(dtype)
    wanted, left = math.prod(shape) * dtype.itemsize, size - file.tell()
    if min(shape, default=0) < 0 or wanted > left:  # before memory is asked for
        raise ValueError(f"its header announces {_text(shape)} values, {wanted} bytes, and {left} follow")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def check_numbers(dtype: np.dtype) -> None:
    """Raise ValueError where values of a type are no numbers."""
    if dtype.kind not in "fiub" or dtype.hasobject:
        raise ValueError(f"it holds values of type {dtype}, not numbers")


def _text(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "1"
