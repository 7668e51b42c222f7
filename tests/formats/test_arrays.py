"""Arrays in .npy and .npz files: what is damaged is an error by the file's name, and nothing is unpickled."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from caffecompat.errors import CaffeCompatError
from caffecompat.formats.archives import read_archive
from caffecompat.formats.arrays import read_array


def npy(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def with_header(text: str, rest: bytes = bytes(64)) -> bytes:
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode() + rest


SHAPE = "{'descr': '<f4', 'fortran_order': False, 'shape': %s}\n"
BAD = {
    "empty": (b"", "it is empty"),
    "cut short": (npy(np.zeros(9))[:-1], "72 bytes, and 71 follow"),
    "huge": (with_header(SHAPE % "(99999999999, 9)"), "announces 99999999999 x 9 values"),
    "negative": (with_header(SHAPE % "(-1, 2)"), "announces -1 x 2 values"),
    "open bracket": (with_header("{'descr': (" * 3 + "\n"), "cannot be read as .npy"),
    "deep": (with_header("(" * 9000 + "\n"), "cannot be read as .npy"),
    "strings": (npy(np.array(["a", "b"])), "values of type <U1, not numbers"),
    "complex": (npy(np.zeros(2, np.complex64)), "values of type complex64, not numbers"),
    "records": (npy(np.zeros(2, [("a", "<f4")])), "not numbers"),
    "objects": (with_header("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}\n"), "not numbers"),
    "text": (b"hello", "cannot be read as .npy"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_damaged_npy_is_refused(tmp_path: Path, name: str) -> None:
    data, message = BAD[name]
    (tmp_path / "x.npy").write_bytes(data)
    with pytest.raises(CaffeCompatError, match=rf"x\.npy: .*{message}"):
        read_array(tmp_path / "x.npy")


@pytest.mark.parametrize("name", BAD)
def test_a_damaged_array_of_an_npz_is_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("conv.0.npy", BAD[name][0])
    with pytest.raises(CaffeCompatError, match=r"x\.npz: not a readable \.npz file \(array 'conv\.0': "):
        read_archive(tmp_path / "x.npz")


@pytest.mark.parametrize("packed", [True, False])
def test_a_turned_bit_of_an_npz_is_refused_or_harmless(tmp_path: Path, packed: bool) -> None:
    named = {"conv.0": np.arange(50, dtype=np.float32)}
    (np.savez_compressed if packed else np.savez)(tmp_path / "x.npz", **named)
    data = (tmp_path / "x.npz").read_bytes()
    for at in range(len(data)):
        (tmp_path / "x.npz").write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        try:
            (values,) = read_archive(tmp_path / "x.npz").values()
        except CaffeCompatError:
            continue
        np.testing.assert_array_equal(values, named["conv.0"])


@pytest.mark.parametrize(
    "values", [np.float64(3), np.zeros((0, 3), np.float32), np.asfortranarray(np.eye(3)), np.arange(3)]
)
def test_all_arrays_of_numbers_are_read(tmp_path: Path, values: np.ndarray) -> None:
    np.save(tmp_path / "x.npy", values)
    np.testing.assert_array_equal(read_array(tmp_path / "x.npy"), values)
