"""Protobuf messages made byte by byte, as writers of other times and forks made them."""

from __future__ import annotations

import struct

import numpy as np

from caffecompat.wire import bytes_header, string_field, varint, varint_field


def message(number: int, *parts: bytes) -> bytes:
    """A field that holds a message (or any bytes)."""
    payload = b"".join(parts)
    return bytes_header(number, len(payload)) + payload


def packed(number: int, values: np.ndarray) -> bytes:
    """A packed repeated float or double, as the array's type is."""
    return message(number, values.tobytes())


def unpacked(number: int, values: np.ndarray) -> bytes:
    """Each value with its own tag."""
    code, wire = ("<f", 5) if values.dtype == np.float32 else ("<d", 1)
    return b"".join(varint(number << 3 | wire) + struct.pack(code, value) for value in values.reshape(-1))


def shape(*dims: int) -> bytes:
    """BlobProto.shape"""
    return message(7, message(1, *(varint(dim) for dim in dims)))


def legacy(*dims: int) -> bytes:
    """BlobProto.num, channels, height, width"""
    return b"".join(varint_field(at + 1, dim) for at, dim in enumerate(dims))


def layer(*fields: bytes, name: str = "ip", kind: str = "InnerProduct") -> bytes:
    """NetParameter.layer"""
    return message(100, string_field(1, name), string_field(2, kind), *fields)


def net(*blobs: bytes) -> bytes:
    """A net of one layer with the given BlobProto contents."""
    return string_field(1, "net") + layer(*(message(7, blob) for blob in blobs))
