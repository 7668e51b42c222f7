from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from caffecompat import data
from caffecompat.data import DataError
from tests.data.batches import TRAIN, refuses, source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of 3 and 2 rows; data (rows, 2, 4), label (rows)."""
    for name, start, rows in (("a", 0, 3), ("b", 3, 2)):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            label = np.arange(start, start + rows)
            file["label"] = label
            file["data"] = np.repeat(label, 8).reshape(rows, 2, 4).astype(np.float64)
    (tmp_path / "list.txt").write_text(f"{tmp_path}/a.h5\n{tmp_path}/b.h5\n")
    return tmp_path


def fields(folder: Path, batch: int, more: str = "", tops: str = 'top: "data" top: "label"') -> str:
    listed = f"{folder}/list.txt"
    return f'name: "d" type: "HDF5Data" {tops} hdf5_data_param {{ source: "{listed}" batch_size: {batch} {more} }}'


@pytest.mark.parametrize("batch", [1, 2, 4, 7])
def test_batches_cross_files_and_the_end(folder: Path, batch: int) -> None:
    with source(fields(folder, batch)) as made:
        assert made.top_shapes == [(batch, 2, 4), (batch,)]
        drawn = []
        for _ in range(10):
            values, label = made.next()
            assert values.dtype == label.dtype == np.float32
            np.testing.assert_array_equal(values, np.broadcast_to(label[:, None, None], values.shape))
            drawn += label.tolist()
    assert drawn == [k % 5 for k in range(10 * batch)]


def test_shuffle_mixes_rows_within_files_and_files(folder: Path) -> None:
    with source(fields(folder, 5, "shuffle: true"), TRAIN) as made:
        epochs = [made.next()[1].astype(int).tolist() for _ in range(40)]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in epochs)
    assert {tuple(sorted(epoch[:3])) == (0, 1, 2) or tuple(sorted(epoch[:2])) == (3, 4) for epoch in epochs} == {True}
    assert {epoch[0] in (3, 4) for epoch in epochs} == {True, False}


def test_a_seeded_shuffle_repeats(folder: Path) -> None:
    runs = []
    for _ in range(2):
        data.seed(2)
        with source(fields(folder, 5, "shuffle: true"), TRAIN) as made:
            runs.append([made.next()[1].tolist() for _ in range(5)])
    data.seed(None)
    assert runs[0] == runs[1]


def test_tops_pick_datasets_in_their_order(folder: Path) -> None:
    with source(fields(folder, 2, tops='top: "label"')) as made:
        assert made.top_shapes == [(2,)]


class TestMistakes:
    def test_no_such_dataset(self, folder: Path) -> None:
        refuses(fields(folder, 2, tops='top: "image"'), r"a\.h5 has no dataset 'image' .* it has data, label")

    def test_missing_and_foreign_files(self, folder: Path) -> None:
        (folder / "list.txt").write_text(f"{folder}/none.h5\n")
        refuses(fields(folder, 2), r"HDF5 file of .*none\.h5: there is no such file")
        (folder / "list.txt").write_text("")
        refuses(fields(folder, 2), "lists no HDF5 file")
        refuses(fields(folder, 2).replace("list.txt", "a.h5"), "is an HDF5 file; `source` names a text file")

    def test_rows_differ(self, folder: Path) -> None:
        with h5py.File(folder / "a.h5", "a") as file:
            file["more"] = np.zeros(4)
        refuses(fields(folder, 2, tops='top: "data" top: "more"'), "differ in their number of rows")

    def test_shapes_differ_among_files(self, folder: Path) -> None:
        with h5py.File(folder / "b.h5", "a") as file:
            del file["data"]
            file["data"] = np.zeros((2, 5))
        with source(fields(folder, 2)) as made:
            made.next()
            with pytest.raises(DataError, match=r"b\.h5: the rows of dataset 'data' have shape \(5,\), .*\(2, 4\)"):
                made.next()

    def test_transform_param(self, folder: Path) -> None:
        refuses(fields(folder, 2) + " transform_param { scale: 2 }", "does not transform")


def test_a_damaged_file_is_an_error_of_ours(folder: Path) -> None:
    content = (folder / "a.h5").read_bytes()
    refused = 0
    for at in range(0, len(content), 61):
        for damaged in (content[:at], content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :]):
            (folder / "a.h5").write_bytes(damaged)
            try:
                with source(fields(folder, 3)) as made:
                    made.next()
            except DataError as error:
                refused += "a.h5" in str(error)
    assert refused > len(content) / 61


def test_another_dataset_that_is_damaged_is_not_passed_over(folder: Path) -> None:
    with h5py.File(folder / "a.h5", "a") as file:
        file["unused"] = np.arange(3)
        at = h5py.h5o.get_info(file["unused"].id).addr
    content = bytearray((folder / "a.h5").read_bytes())
    content[at : at + 8] = bytes([255] * 8)
    (folder / "a.h5").write_bytes(content)
    refuses(fields(folder, 3), r"a\.h5: damaged HDF5 file")


def test_a_dataset_of_which_only_the_shape_was_written_is_zeros(folder: Path) -> None:
    with h5py.File(folder / "a.h5", "a") as file:
        del file["label"]
        file.create_dataset("label", (3,), np.float32)
    with source(fields(folder, 3)) as made:
        assert made.next()[1].tolist() == [0, 0, 0]
    with h5py.File(folder / "a.h5", "a") as file:
        del file["label"], file["data"]
        for name in ("label", "data"):
            file.create_dataset(name, (1 << 30,), np.float32)
    refuses(fields(folder, 3), r"a\.h5: .*has only 0 bytes stored")
