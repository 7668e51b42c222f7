"""Texts in HDF5 files, and heaps whose damage would keep libhdf5 busy for ever."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from caffecompat.forks import Fork
from caffecompat.formats.hdf5_text import check_heaps
from caffecompat.formats.hdf5_weights import dataset_array, open_hdf5_weights, save_hdf5_weights
from caffecompat.formats.solverstate import SolverState, read_solverstate, write_solverstate
from caffecompat.formats.weights import WeightsError

h5py = pytest.importorskip("h5py")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "s.solverstate.h5"
    write_solverstate(
        path, SolverState(7, "net", [np.ones(3, np.float32)], fork=Fork.SSD, fork_named=True, resume="ab")
    )
    return path


def as_others_write(path: Path) -> None:
    """The attributes as h5py makes them of Python's texts."""
    with h5py.File(path, "a") as file:
        for name in ("caffecompat_fork", "caffecompat_resume"):
            if name in file.attrs:
                file.attrs[name] = file.attrs[name].decode()
        if "learned_net" in file:
            del file["learned_net"]
            file["learned_net"] = "other"


def heap_of(path: Path) -> int:
    """Where the free space of the file's heap says its size."""
    data = path.read_bytes()
    at = start = data.index(b"GCOL")
    at += 16
    while struct.unpack_from("<H", data, at)[0]:
        at += 16 + -(-struct.unpack_from("<Q", data, at + 8)[0] // 8) * 8
    assert at < start + 4096
    return at + 8


def patch(path: Path, at: int, number: int) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:at] + struct.pack("<Q", number) + data[at + 8 :])


def test_ours_have_no_heap(state: Path, tmp_path: Path) -> None:
    save_hdf5_weights(tmp_path / "w.h5", {"conv": [np.ones(2, np.float32)]}, fork=Fork.SSD)
    assert open_hdf5_weights(tmp_path / "w.h5").trained_as is Fork.SSD
    found = read_solverstate(state)
    assert (found.fork, found.fork_named, found.resume, found.learned_net) == (Fork.SSD, True, "ab", "net")
    assert all(b"GCOL" not in path.read_bytes() for path in (state, tmp_path / "w.h5"))


def test_texts_of_variable_length_are_read(state: Path) -> None:
    as_others_write(state)
    assert b"GCOL" in state.read_bytes()
    found = read_solverstate(state)
    assert (found.fork, found.resume, found.learned_net) == (Fork.SSD, "ab", "other")


@pytest.mark.parametrize("size", [0, 8, 16, 4000, 1 << 40, (1 << 64) - 8])
def test_a_damaged_heap_is_an_error(state: Path, size: int) -> None:
    as_others_write(state)
    patch(state, heap_of(state), size)
    code = (
        "import sys; from caffecompat.formats.solverstate import read_solverstate\n"
        "from caffecompat.formats.weights import WeightsError\n"
        "try: read_solverstate(sys.argv[1])\n"
        "except WeightsError as problem: print(problem)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(state)], capture_output=True, text=True, timeout=60)
    assert "damaged HDF5 file (the heap at byte" in done.stdout, done


def test_weights_that_look_like_a_heap_are_none(tmp_path: Path) -> None:
    weights = np.frombuffer(b"GCOL" + bytes(60), np.float32)
    save_hdf5_weights(tmp_path / "w.h5", {"conv": [weights]})
    check_heaps(str(tmp_path / "w.h5"))


def test_lists_of_any_length_are_no_weights(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["label"] = np.array([b"a", b"bc"], h5py.string_dtype())
        with pytest.raises(WeightsError, match="not numbers"):
            dataset_array("w.h5", file["label"])


def test_an_attribute_that_is_no_text_is_an_error(state: Path) -> None:
    with h5py.File(state, "a") as file:
        file.attrs["caffecompat_resume"] = np.arange(3)
    with pytest.raises(WeightsError, match="caffecompat_resume is no text"):
        read_solverstate(state)
