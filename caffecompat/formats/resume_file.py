"""The file next to a solver state that lets a run go on exactly: ``<prefix>_iter_N.resume``.

Three parts: a line ``caffecompat resume <version> <digest>``; a line of JSON; the bytes of the arrays that the JSON
refers to, one after another. The digest is that of all that follows its line, and the solver state holds it too: so a
damaged file is known, and one of another run. Nothing in it is code, and original Caffe never looks at it.

In the JSON an array is ``{"$array": [dtype, shape]}``, one of truth values ``{"$bits": shape}`` (packed, eight to a
byte), a long list of integers ``{"$ints": [dtype, length]}``; their bytes come in the order of the text.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from caffecompat.errors import CaffeCompatError

__all__ = ["ResumeFile", "ResumeFileError", "encode_resume", "read_resume", "resume_name"]

_MAGIC, _VERSION = b"caffecompat resume ", 1
_LONG = 32  # integers of a list, from which on it is written as an array
_MARKS = ("$array", "$bits", "$ints")


class ResumeFileError(CaffeCompatError):
    """A .resume file that cannot be read: missing, damaged, of a later version, or something else."""


class ResumeFile(NamedTuple):
    """What a .resume file holds; `digest` is the one that its solver state names."""

    content: dict[str, object]
    digest: str


def resume_name(state: str) -> str:
    """The path that belongs to that of a solver state, binary or HDF5."""
    return state.removesuffix(".h5").removesuffix(".solverstate") + ".resume"


def encode_resume(content: Mapping[str, object]) -> tuple[bytes, str]:
    """The bytes of a file and their digest.

    Args:
        content: of None, truth values, numbers, strings, arrays, and lists and dicts of these; keys are strings that
            do not begin with "$".

    Raises:
        TypeError: there is something else in it; the message says where.
    """
    arrays: list[bytes] = []
    text = json.dumps(_packed(content, arrays, ""), separators=(",", ":"))
    body = b"".join([text.encode("ascii"), b"\n", *arrays])
    digest = _digest(body)
    return b"%s%d %s\n%s" % (_MAGIC, _VERSION, digest.encode(), body), digest


def _digest(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=16).hexdigest()


def _packed(value: object, arrays: list[bytes], where: str) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind == "b":
        arrays.append(np.packbits(value).tobytes())
        return {"$bits": list(value.shape)}
    if isinstance(value, np.ndarray) and value.dtype.kind in "iuf":
        plain = np.asarray(value, value.dtype.newbyteorder("<"), order="C")
        arrays.append(plain.tobytes())
        return {"$array": [plain.dtype.str, list(plain.shape)]}
    if isinstance(value, (list, tuple)):
        whole = _integers(value)
        if whole is not None:
            arrays.append(whole.tobytes())
            return {"$ints": [whole.dtype.str, len(whole)]}
        return [_packed(item, arrays, f"{where}[{place}]") for place, item in enumerate(value)]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or key.startswith("$"):
                raise TypeError(f"{where or 'content'} has the key {key!r}; keys are strings without a $ in front")
        return {key: _packed(item, arrays, f"{where}.{key}" if where else key) for key, item in value.items()}
    raise TypeError(f"{where or 'content'} is a {type(value).__name__}, which a .resume file cannot hold")


def _integers(values: list[Any] | tuple[Any, ...]) -> np.ndarray | None:
    """A long list of integers as an array of few bytes; None where it is no such list."""
    if len(values) < _LONG or not all(type(value) is int for value in values):
        return None
    try:
        array = np.array(values, np.int64)
    except OverflowError:
        return None
    kind = np.promote_types(np.min_scalar_type(int(array.min())), np.min_scalar_type(int(array.max())))
    return array.astype(kind.newbyteorder("<")) if kind.kind in "iu" else array


def read_resume(path: str | os.PathLike[str]) -> ResumeFile:
    """Read a file that `encode_resume` made.

    Raises:
        ResumeFileError: there is none, it is damaged, of a later version, or something else.
    """
    try:
        if stat.S_ISFIFO(os.stat(path).st_mode):  # to open one waits for a writer
            raise ResumeFileError(f"{os.fspath(path)}: is a pipe, not a .resume file")
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise ResumeFileError(f"{os.fspath(path)}: cannot be read: {error.strerror}") from None
    line, _, body = data.partition(b"\n")
    words = line.removeprefix(_MAGIC).split()
    if not line.startswith(_MAGIC) or len(words) != 2 or not words[0].isdigit():
        raise ResumeFileError(f"{os.fspath(path)}: is no .resume file" if data else f"{os.fspath(path)}: is empty")
    if words[0] != b"%d" % _VERSION:
        version = words[0][:20].decode("ascii")
        raise ResumeFileError(f"{os.fspath(path)}: has version {version}; this caffecompat reads version {_VERSION}")
    digest = _digest(body)
    if words[1] != digest.encode():
        raise ResumeFileError(f"{os.fspath(path)}: cut short or damaged")
    text, _, rest = body.partition(b"\n")
    try:
        content = _Unpacking(rest).unpacked(json.loads(text))
    except (ValueError, TypeError, LookupError, RecursionError) as problem:
        raise ResumeFileError(f"{os.fspath(path)}: does not make sense ({problem})") from None
    if not isinstance(content, dict):
        raise ResumeFileError(f"{os.fspath(path)}: does not make sense")
    return ResumeFile(content, digest)


class _Unpacking:
    """Puts arrays where the JSON refers to them."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def unpacked(self, value: object) -> Any:
        if isinstance(value, list):
            return [self.unpacked(item) for item in value]
        if not isinstance(value, dict):
            return value
        if len(value) != 1 or next(iter(value)) not in _MARKS:
            return {key: self.unpacked(item) for key, item in value.items()}
        ((mark, what),) = value.items()
        if mark == "$bits":
            shape = self._shape(what)
            packed = self._array("|u1", [-(-math.prod(shape) // 8)])
            return np.unpackbits(packed, count=math.prod(shape)).astype(bool).reshape(shape)
        if mark == "$ints":
            return self._array(what[0], [what[1]]).tolist()
        return self._array(what[0], what[1]).copy()

    @staticmethod
    def _shape(sizes: Any) -> list[int]:
        if not isinstance(sizes, list) or not all(type(size) is int and size >= 0 for size in sizes):
            raise ValueError(f"{sizes} is no shape")
        return sizes

    def _array(self, name: str, sizes: Any) -> np.ndarray:
        if not isinstance(name, str) or not re.fullmatch(r"[<>|]?[iuf]\d{1,2}", name):
            raise ValueError(f"arrays of {str(name)[:100]}")
        dtype, shape = np.dtype(name), self._shape(sizes)
        count = math.prod(shape)
        if count * dtype.itemsize > len(self._data) - self._at:
            raise ValueError("arrays are missing")
        array = np.frombuffer(self._data, dtype, count, self._at).reshape(shape)
        self._at += count * dtype.itemsize
        return array
