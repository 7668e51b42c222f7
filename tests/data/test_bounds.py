"""Batches, read-ahead and threads in numbers that no machine has: messages, and nothing is allocated or started."""

from __future__ import annotations

from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from caffecompat.data import DataError, make_source
from caffecompat.schema import parse_text, pb
from caffecompat.threads import MOST_THREADS
from tests.data.batches import make_database

_LAYERS = {
    "ImageData": 'top: "label" image_data_param { source: "list.txt" batch_size: %d }',
    "HDF5Data": 'hdf5_data_param { source: "data.txt" batch_size: %d }',
    "MemoryData": "memory_data_param { batch_size: %d channels: 3 height: 4 width: 4 }",
    "Input": "input_param { shape { dim: %d dim: 48 } }",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("0.png", np.zeros((4, 4, 3), np.uint8))
    Path("list.txt").write_text("0.png 0\n")
    with h5py.File("data.h5", "w") as file:
        file["data"] = np.zeros((2, 48), "f4")
    Path("data.txt").write_text("data.h5\n")


def _layer(kind: str, text: str) -> object:
    return parse_text(f'name: "d" type: "{kind}" top: "data" {text}', pb.LayerParameter())


@pytest.mark.parametrize("kind", ["ImageData", "HDF5Data", "MemoryData", "Input"])
def test_the_largest_batch(kind: str) -> None:
    most = (2**31 - 1) // 48
    make_source(_layer(kind, _LAYERS[kind] % most), 0).close()
    with pytest.raises(DataError, match=rf'"d" \({kind}\): a blob of {most + 1} x .* more than 2,147,483,647 values'):
        make_source(_layer(kind, _LAYERS[kind] % (most + 1)), 0)


@pytest.mark.parametrize(("field", "most"), [("prefetch", 1000), ("threads", MOST_THREADS)])
def test_read_ahead_and_threads(field: str, most: int) -> None:
    make_database(Path("lmdb"), [np.zeros((4, 4, 3), np.uint8)])
    text = 'data_param { source: "lmdb" backend: LMDB batch_size: 1 %s: %d }'
    make_source(_layer("Data", text % (field, most)), 0).close()
    for number in (most + 1, 2**32 - 1):
        with pytest.raises(DataError, match=rf"{field} must be at most {most}.*, it is {number}"):
            make_source(_layer("Data", text % (field, number)), 0)
