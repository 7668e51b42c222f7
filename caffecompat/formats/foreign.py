"""Opening a binary file, and telling what it is when it is not what was asked for."""

from __future__ import annotations

import mmap
import os
import stat

from caffecompat.files import refuse_endless
from caffecompat.formats.weights import WeightsError
from caffecompat.wire import BYTES, VARINT, Buffer, WireError, read_field
from caffecompat.wording import nearest

__all__ = ["MappedFile", "describe_message", "is_hdf5"]

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_HEAD = 1024

# (offset, bytes there, what it is, what to do)
_MAGIC = (
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file itself", "fetch the file with 'git lfs pull'"),
    (0, b"<!DOCTYPE", "a web page", "download the raw file, not the page that shows it"),
    (0, b"<!doctype", "a web page", "download the raw file, not the page that shows it"),
    (0, b"<html", "a web page", "download the raw file, not the page that shows it"),
    (0, b"<?xml", "an XML file", "check the download, or the path"),
    (0, _HDF5_MAGIC, "an HDF5 file", "give it where .h5 files are expected, under its own name"),
    (0, b"PK\x03\x04", "a zip archive (or a PyTorch checkpoint, or .npz)", "unpack it, or convert the checkpoint"),
    (0, b"\x1f\x8b", "a gzip file", "unpack it with gunzip"),
    (0, b"BZh", "a bzip2 file", "unpack it with bunzip2"),
    (0, b"\xfd7zXZ\x00", "an xz file", "unpack it with unxz"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it"),
    (0, b"Rar!", "a rar archive", "unpack it"),
    (257, b"ustar", "a tar archive", "unpack it with tar"),
    (0, b"\x93NUMPY", "a NumPy .npy file", "save the arrays with caffecompat.save_caffemodel"),
    (0, b"\x80\x02", "a Python pickle (or an old PyTorch checkpoint)", "convert it"),
    (0, b"\x80\x03", "a Python pickle", "convert it"),
    (0, b"\x80\x04", "a Python pickle", "convert it"),
    (0, b"\x80\x05", "a Python pickle", "convert it"),
    (4, b'\0\0\0\0{"', "a safetensors file", "convert it"),
    (4, b"TFL3", "a TensorFlow Lite model", "give the .caffemodel"),
    (
        0,
        b"caffecompat resume ",
        "the .resume file of a solver state",
        "name the .solverstate; this one is found by itself",
    ),
    (0, b"\x89PNG", "a PNG picture", "check the path"),
    (0, b"\xff\xd8\xff", "a JPEG picture", "check the path"),
)


class MappedFile:
    """A file as one read-only buffer: mapped, so that only the pages looked at are read.

    Attributes:
        path: as given.
        data: the bytes.
        size: how many.

    Raises:
        WeightsError: it cannot be opened, is empty, or is recognized as another kind of file than `expected`
            ("caffemodel", "solverstate", ...; used in the message). A file of 0 bytes is allowed by `may_be_empty`.
    """

    __slots__ = ("data", "path", "size")

    def __init__(self, path: str | os.PathLike[str], expected: str, *, may_be_empty: bool = False) -> None:
        self.path = os.fspath(path)
        self.data = _bytes_of(self.path)
        self.size = len(self.data)
        if not self.size and not may_be_empty:
            raise WeightsError(f"{self.path}: the file is empty; its copy or download failed, fetch it again")
        known = _recognize(bytes(self.data[:_HEAD])) if self.size else None
        if known:
            raise WeightsError(f"{self.path}: this is {known[0]}, not a {expected}; {known[1]}")


def _bytes_of(path: str) -> Buffer:
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                refuse_endless(file)
                return file.read()  # a pipe, as of <(zcat w.caffemodel.gz)
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if status.st_size else b""
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file{_near_names(path)}") from None
    except OSError as problem:
        raise WeightsError(f"{path}: cannot be read ({problem.strerror})") from problem


def _near_names(path: str) -> str:
    folder, name = os.path.split(path)
    try:
        names = os.listdir(folder or ".")
    except OSError:
        return f"; the folder {folder!r} is not there either"
    near = nearest(name, names)
    return f"; did you mean {os.path.join(folder, near)}?" if near else ""


def _recognize(head: bytes) -> tuple[str, str] | None:
    for offset, magic, what, advice in _MAGIC:
        if head.startswith(magic, offset):
            return what, advice
    if _is_text(head):
        return "a text file", "a prototxt describes a net and has no weights: give the binary file"
    return None


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as problem:
        if problem.reason != "unexpected end of data":
            return False
        text = head[: problem.start].decode()  # the head ends inside a character
    return all(letter.isprintable() or letter in "\t\r\n\ufeff" for letter in text)


def is_hdf5(path: str | os.PathLike[str]) -> bool:
    """Whether the file has HDF5's signature at its start or after a user block; False when it cannot be read."""
    try:
        with open(path, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return False
            for offset in (0, 512, 1024, 2048):
                file.seek(offset)
                if file.read(len(_HDF5_MAGIC)) == _HDF5_MAGIC:
                    return True
    except OSError:
        pass  # the reader proper says what is wrong
    return False


def describe_message(data: Buffer) -> str | None:
    """What kind of protobuf message the buffer seems to hold, judged by its first fields; None: no idea."""
    seen: set[tuple[int, int]] = set()
    at, end = 0, len(data)
    try:
        for _ in range(64):
            if at == end:
                break
            number, wire, _, at = read_field(data, at, end)
            seen.add((number, wire))
    except WireError:
        pass
    if {(1, VARINT), (7, BYTES)} <= seen and seen & {(8, BYTES), (2, BYTES)}:
        return "an ONNX model"
    if (100, BYTES) in seen or {(1, BYTES), (2, BYTES)} <= seen:
        return "a caffemodel"
    if {(1, VARINT), (2, VARINT), (3, VARINT), (4, BYTES)} <= seen:
        return "one database record (Datum)"
    if seen & {(5, BYTES)} and seen <= {(n, VARINT) for n in range(1, 5)} | {(n, BYTES) for n in range(5, 10)}:
        return "a single blob, such as a mean image (.binaryproto)"
    if (1, VARINT) in seen and (3, BYTES) in seen:
        return "a solver state"
    return None
