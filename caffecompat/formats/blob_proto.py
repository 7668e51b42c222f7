"""`BlobProto`: one array, as it lies in caffemodels, solver states and mean images.

Field numbers (BVLC): 1-4 num, channels, height, width of the legacy shape, 5 data, 6 diff, 7 shape,
8 double_data, 9 double_diff. Two forks use the same further numbers, told apart by wire type:
NVCaffe and Jacinto write 10 raw_data_type, 11 raw_diff_type (varints), 12 raw_data, 13 raw_diff (bytes);
Xilinx writes 10 mask (floats), 11 double_mask (bytes), 12 format (varint), which loading does not need.

C3D (v1.0) numbers otherwise: 1-5 num, channels, length, height, width, 6 data, 7 diff. Its field 5 is a varint.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from caffecompat.forks import Fork
from caffecompat.formats.foreign import MappedFile
from caffecompat.formats.weights import StoredBlob, WeightsError
from caffecompat.wire import (
    BYTES,
    FIXED32,
    FIXED64,
    VARINT,
    Buffer,
    WireError,
    bytes_header,
    read_field,
    read_varints,
    signed,
    varint,
    varint_field,
)

__all__ = ["WireBlob", "blob_pieces", "read_blob"]

MAX_AXES = 32  # kMaxBlobAxes in BVLC's blob.hpp

_FLOAT32: np.dtype = np.dtype("<f4")
_FLOAT64: np.dtype = np.dtype("<f8")
_RAW_TYPES: dict[int, np.dtype] = {
    0: _FLOAT64,
    1: _FLOAT32,
    2: np.dtype("<f2"),
}  # NVCaffe's enum Type; 3 and 4 are integers
_REPEATED = {5: (_FLOAT32, FIXED32), 6: (_FLOAT32, FIXED32), 8: (_FLOAT64, FIXED64), 9: (_FLOAT64, FIXED64)}

_Span = tuple[int, int, int]  # offset of the first value, how many, bytes from one to the next


class _Values:
    """A repeated field: where its values lie in the file."""

    __slots__ = ("dtype", "spans")

    def __init__(self, dtype: np.dtype, spans: list[_Span]) -> None:
        self.dtype = dtype
        self.spans = spans

    @property
    def count(self) -> int:
        return sum(count for _, count, _ in self.spans)

    def gather(self, data: Buffer) -> np.ndarray:
        """The values in one dimension: a view where they lie side by side."""
        parts = [
            np.ndarray((count,), self.dtype, buffer=data, offset=offset, strides=(stride,))
            for offset, count, stride in self.spans
        ]
        values = parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.empty(0, self.dtype)
        return values.astype(np.float32) if self.dtype.itemsize == 2 else np.ascontiguousarray(values)


class WireBlob(StoredBlob):
    """A blob of a protobuf file. `fork` is NVCaffe, Xilinx or C3D where it has fields that only they write."""

    __slots__ = ("_data", "_diff", "_file", "_where", "fork")

    def __init__(
        self,
        file: MappedFile,
        where: str,
        shape: tuple[int, ...],
        legacy: bool,
        encoding: str,
        data: _Values,
        diff: _Values | None,
        fork: Fork | None,
    ) -> None:
        self._file, self._where, self._data, self._diff = file, where, data, diff
        self.shape, self.legacy, self.encoding, self.fork = shape, legacy, encoding, fork
        self.dtype = data.dtype

    @property
    def has_diff(self) -> bool:
        return self._diff is not None

    def array(self) -> np.ndarray:
        self.check()
        return self._data.gather(self._file.data).reshape(self.shape)

    def diff(self) -> np.ndarray | None:
        if self._diff is None:
            return None
        self._check(self._diff, "diff")
        return self._diff.gather(self._file.data).reshape(self.shape)

    def check(self) -> None:
        self._check(self._data, "data")

    def _check(self, values: _Values, what: str) -> None:
        problem = ""
        if min(self.shape, default=0) < 0 or len(self.shape) > MAX_AXES:
            problem = f"the shape {self.shape} is impossible"
        elif values.count != self.count:
            problem = f"the shape {self.shape} has {self.count} values, the file holds {values.count} ({what})"
        if problem:
            raise WeightsError(
                f"{self._file.path}: {self._where}: {problem}; the file is damaged or was not written to its end"
            )


def read_blob(file: MappedFile, at: int, end: int, where: str) -> WireBlob:
    """The BlobProto between two offsets; values are located, not read.

    Args:
        where: which blob, for messages ("layer 'conv1', blob 0").

    Raises:
        WireError: it is not a BlobProto.
    """
    data = file.data
    legacy: dict[int, int] = {}
    shape: list[int] = []
    spans: dict[int, list[_Span]] = {5: [], 6: [], 8: [], 9: []}
    raw_types: dict[int, int] = {}
    raw: dict[int, _Span] = {}
    masked = volume = False
    while at < end:
        number, wire, value, stop = read_field(data, at, end)
        if number == 5 and wire == VARINT and len(legacy) == 4:  # protobuf writes fields in the order of their numbers
            volume, legacy[number] = True, signed(value)
        elif volume and number in (6, 7) and wire == BYTES:
            span, stop = _span(data, at, value, stop, end, number - 1, wire)
            spans[number - 1].append(span)
        elif number in _REPEATED:
            span, stop = _span(data, at, value, stop, end, number, wire)
            spans[number].append(span)
        elif number == 7 and wire == BYTES:
            shape += _read_dims(data, value, stop)
        elif number <= 4 and wire == VARINT:
            legacy[number] = signed(value)
        elif number in (10, 11) and wire == VARINT:
            raw_types[number] = value
        elif number in (12, 13) and wire == BYTES:
            raw[number] = (value, stop - value, 1)
        elif number in (10, 11):
            masked = True
        at = stop
    fork = Fork.NVCAFFE if raw or raw_types else Fork.XILINX if masked else Fork.C3D if volume else None
    dims = tuple(legacy.get(axis, 0) for axis in range(1, 6 if volume else 5)) if legacy else tuple(shape)
    encoding, values = _choose(spans[5], spans[8], raw.get(12), raw_types.get(10))
    _, diff = _choose(spans[6], spans[9], raw.get(13), raw_types.get(11))
    return WireBlob(file, where, dims, bool(legacy), encoding, values, diff if diff.count else None, fork)


def _span(data: Buffer, at: int, value: int, stop: int, end: int, number: int, wire: int) -> tuple[_Span, int]:
    """Where the values of the repeated field at `at` lie, and the offset after them."""
    dtype, single = _REPEATED[number]
    size = dtype.itemsize
    if wire == BYTES:
        if (stop - value) % size:
            raise WireError(f"{stop - value} bytes are not a whole number of {dtype.name} values", value)
        return (value, (stop - value) // size, size), stop
    if wire != single:
        raise WireError(f"field {number} of a blob cannot have wire type {wire}", at)
    # Unpacked, as writers before protobuf 2.3 did: each value has its tag before it. Take the whole run at once.
    count = 1 + _run_length(data, stop, end, number << 3 | wire, size + 1)
    return (value, count, size + 1), value + count * (size + 1) - 1


def _run_length(data: Buffer, at: int, end: int, tag: int, stride: int) -> int:
    """How many fields of `stride` bytes with the one-byte tag `tag` follow each other from `at` on."""
    tags = np.ndarray(((end - at) // stride,), np.uint8, buffer=data, offset=at, strides=(stride,)) if at < end else ()
    done, step = 0, 64
    while done < len(tags):
        other = np.flatnonzero(tags[done : done + step] != tag)
        if other.size:
            return done + int(other[0])
        done += step
        step *= 2
    return len(tags)


def _read_dims(data: Buffer, at: int, end: int) -> list[int]:
    """The dims of a BlobShape (field 1, packed or not)."""
    dims: list[int] = []
    while at < end:
        number, wire, value, stop = read_field(data, at, end)
        if number == 1 and wire == BYTES:
            dims += read_varints(data, value, stop)
        elif number == 1 and wire == VARINT:
            dims.append(value)
        at = stop
    return [signed(dim) for dim in dims]


def _choose(floats: list[_Span], doubles: list[_Span], raw: _Span | None, raw_type: int | None) -> tuple[str, _Values]:
    """(encoding, values) in the order in which NVCaffe and BVLC look: raw bytes, doubles, floats."""
    if raw is not None:
        offset, size, _ = raw
        dtype = _RAW_TYPES.get(-1 if raw_type is None else raw_type)
        if dtype is None:
            raise WireError(f"raw data of type {raw_type}, which is not DOUBLE, FLOAT or FLOAT16", offset)
        if size % dtype.itemsize:
            raise WireError(f"{size} bytes are not a whole number of {dtype.name} values", offset)
        return "raw", _Values(dtype, [(offset, size // dtype.itemsize, dtype.itemsize)])
    values = _Values(_FLOAT64, doubles) if any(count for _, count, _ in doubles) else _Values(_FLOAT32, floats)
    unpacked = any(stride != values.dtype.itemsize for _, _, stride in values.spans)
    return "unpacked" if unpacked else "packed", values


def blob_pieces(
    values: np.ndarray, diff: np.ndarray | None = None, *, raw: bool = False
) -> tuple[int, Iterator[bytes | memoryview]]:
    """A BlobProto as BVLC writes it: its size in bytes, and its bytes piece by piece.

    float64 arrays become double_data, all others float32 data; with `raw` they become NVCaffe's raw_data, which BVLC
    cannot read. Arrays in any memory order are written in C order; one contiguous copy at a time is made where needed.
    """
    number, dtype = (8, _FLOAT64) if values.dtype == np.float64 else (5, _FLOAT32)
    dims = b"".join(varint(size) for size in values.shape)
    shape = bytes_header(1, len(dims)) + dims
    shape = bytes_header(7, len(shape)) + shape if dims else b""  # BVLC writes no shape for a scalar
    arrays = [values] if diff is None else [values, diff]
    if raw:
        kind = 0 if dtype is _FLOAT64 else 1  # NVCaffe's DOUBLE and FLOAT
        lead = shape + b"".join(varint_field(10 + at, kind) for at in range(len(arrays)))
        number = 12
    else:
        lead = shape if number == 8 else b""
    tail = b"" if lead else shape
    # A repeated field without values is not on the wire.
    fields = [(bytes_header(number + at, a.size * dtype.itemsize), a) for at, a in enumerate(arrays) if a.size]
    size = len(lead) + len(tail) + sum(len(header) + a.size * dtype.itemsize for header, a in fields)

    def pieces() -> Iterator[bytes | memoryview]:
        yield lead
        for header, array in fields:
            yield header
            yield np.ascontiguousarray(array, dtype).reshape(-1).view(np.uint8).data
        yield tail

    return size, pieces()
