"""Texts in HDF5 files: attributes of fixed length, as ours are; of variable length where others made them.

A value of variable length lies in a "global heap" of the file (HDF5 File Format Specification, III.E). libhdf5 walks
the objects of a heap without looking at their sizes: one that is damaged keeps it busy for ever.
"""

from __future__ import annotations

import mmap
import struct
from typing import Any

import numpy as np

from caffecompat.formats.weights import WeightsError

__all__ = ["check_heaps", "text_attribute", "write_text_attribute"]

_HEAP = b"GCOL"
_HEAD = struct.Struct("<4sB3xQ")  # signature, version, size of the heap
_OBJECT = struct.Struct("<HHIQ")  # index (0: the free space, to the heap's end), references, reserved, size


def write_text_attribute(file: Any, name: str, text: str) -> None:
    """Give the file an attribute of fixed length."""
    file.attrs[name] = np.bytes_(text.encode())


def text_attribute(path: str, file: Any, name: str) -> str:
    """The text of a file's attribute, "" where it has none of that name.

    Raises:
        WeightsError: it is no text, or lies in a heap that is damaged.
    """
    if name not in file.attrs:
        return ""
    kind = file.attrs.get_id(name).dtype.kind
    if kind == "O":
        check_heaps(path)
    value = file.attrs[name]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if not isinstance(value, str):
        raise WeightsError(f"{path}: damaged HDF5 file (the attribute {name} is no text); fetch it again")
    return value


def check_heaps(path: str) -> None:
    """Look at all heaps of a file, before libhdf5 reads what lies in one.

    Raises:
        WeightsError: objects of a heap do not fill it.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.find(_HEAP)
        while at >= 0:
            if at % 8 == 0 and at + _HEAD.size <= len(data) and not _fills(data, at):
                raise WeightsError(f"{path}: damaged HDF5 file (the heap at byte {at}); fetch it again")
            at = data.find(_HEAP, at + 1)


def _fills(data: mmap.mmap, start: int) -> bool:
    _, version, size = _HEAD.unpack_from(data, start)
    at, end = start + _HEAD.size, start + size
    if version != 1:
        return True  # the four letters are a number among the weights, or libhdf5 refuses it
    while at + _OBJECT.size <= min(end, len(data)):
        index, _, _, length = _OBJECT.unpack_from(data, at)
        if index == 0:
            return bool(at + length == end)
        at += _OBJECT.size + -(-length // 8) * 8
    return bool(at <= end <= len(data))
