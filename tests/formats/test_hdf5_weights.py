from pathlib import Path

import numpy as np
import pytest

from caffecompat.formats import WeightsError, open_weights
from caffecompat.formats.hdf5_weights import open_hdf5_weights, save_hdf5_weights

h5py = pytest.importorskip("h5py")

WEIGHT = np.random.default_rng(0).random((4, 3, 2, 2), np.float32)


def test_round_trip_with_diffs(tmp_path: Path) -> None:
    blobs = {"relu": [], "conv": [WEIGHT, np.ones(4)], "factor": [np.array(0.5, np.float32)]}
    diffs = {name: [array * 2 for array in arrays] for name, arrays in blobs.items()}
    save_hdf5_weights(tmp_path / "w.h5", blobs, diffs)
    file = open_weights(tmp_path / "w.h5")
    assert file.format == "HDF5" and [layer.name for layer in file.layers] == ["conv", "factor", "relu"]
    for layer in file.layers:
        for stored, array in zip(layer.blobs, blobs[layer.name], strict=True):
            assert stored.shape == array.shape and stored.dtype == array.dtype
            np.testing.assert_array_equal(stored.array(), array)
            np.testing.assert_array_equal(stored.diff(), array * 2)
    assert file.load()["factor"][0].shape == ()


def test_the_layout_is_caffes(tmp_path: Path) -> None:
    channels_last = np.asarray(WEIGHT.transpose(0, 2, 3, 1), order="C").transpose(0, 3, 1, 2)
    save_hdf5_weights(tmp_path / "w.h5", {"data": [], "conv": [channels_last]})
    with h5py.File(tmp_path / "w.h5") as file:
        assert list(file) == ["data"] and sorted(file["data"]) == ["conv", "data"]
        assert file["data/conv/0"].dtype == np.float32 and file["data/conv/0"].chunks is None
        np.testing.assert_array_equal(file["data/conv/0"][()], WEIGHT)


def test_layers_with_a_slash_are_nested_groups(tmp_path: Path) -> None:
    blobs = {"a/b/c": [WEIGHT], "a/b": [WEIGHT, WEIGHT], "a/0": [WEIGHT], "a/b/empty": []}
    save_hdf5_weights(tmp_path / "w.h5", blobs)
    found = {layer.name: len(layer.blobs) for layer in open_weights(tmp_path / "w.h5").layers}
    assert found == {"a/b": 2, "a/b/c": 1, "a/0": 1, "a/b/empty": 0}


def test_blobs_of_other_layers_are_left_out(tmp_path: Path) -> None:
    save_hdf5_weights(tmp_path / "w.h5", {"first": [WEIGHT, WEIGHT], "second": [None, WEIGHT]})
    file = open_weights(tmp_path / "w.h5")
    second = file.layers[1]
    assert second.blobs[0] is None and second.blobs[1] is not None
    assert len(file.load()["second"]) == 1


@pytest.mark.parametrize("name", ["", "a//b", "/a", "a/.", "../a"])
def test_names_that_hdf5_cannot_hold(tmp_path: Path, name: str) -> None:
    with pytest.raises(WeightsError, match="rename it, or write a binary caffemodel"):
        save_hdf5_weights(tmp_path / "w.h5", {name: [WEIGHT]})
    assert not list(tmp_path.iterdir())


def test_doubles_and_halves(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["data/ip/0"] = WEIGHT.astype(np.float16)
        file["data/ip/1"] = WEIGHT.astype(np.float64)
    half, double = open_weights(tmp_path / "w.h5").load()["ip"]
    assert half.dtype == np.float32 and double.dtype == np.float64


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(WeightsError, match="cut short or damaged"):
        open_weights(path)
    with h5py.File(path, "w") as file:
        file["images"] = [1.0]
    with pytest.raises(WeightsError, match="no group '/data'"):
        open_weights(path)
    with h5py.File(path, "w") as file:
        file["data/ip/0"] = [1, 2]
    with pytest.raises(WeightsError, match="layer 'ip', blob 0: its type int64"):
        open_weights(path)
    with pytest.raises(WeightsError, match="no such file"):
        open_hdf5_weights(tmp_path / "none.h5")


def test_a_shape_beyond_the_file_asks_for_no_memory(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_dataset("data/ip/0", (1 << 40,), "<f4", chunks=(1 << 20,))
    blob = open_weights(tmp_path / "w.h5").layers[0].blobs[0]
    with pytest.raises(WeightsError, match="has only 0 bytes stored"):
        blob.array()


def test_compressed_weights_of_other_writers(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.h5", "w", userblock_size=512) as file:
        file.create_dataset("data/ip/0", data=np.zeros((1000, 1000), np.float32), compression="gzip")
    np.testing.assert_array_equal(open_weights(tmp_path / "w.h5").load()["ip"][0], 0)


def test_a_chunk_smaller_than_its_checksum_is_refused(tmp_path: Path) -> None:
    """libhdf5 would read outside of it, and the process would die."""
    import h5py

    from caffecompat.formats.hdf5_weights import dataset_array, open_hdf5

    path = str(tmp_path / "a.h5")
    with h5py.File(path, "w") as file:
        made = file.create_dataset("data", (4, 6), "f4", chunks=(2, 6), compression="gzip", fletcher32=True)
        made[...] = np.arange(24).reshape(4, 6)
    with open_hdf5(path) as file:
        np.testing.assert_array_equal(dataset_array(path, file["data"]), np.arange(24).reshape(4, 6))
    for size in (3, 1):
        with h5py.File(path, "a") as file:
            file["data"].id.write_direct_chunk((2, 0), b"x" * size)
        with open_hdf5(path) as file, pytest.raises(WeightsError, match=r"/data has a chunk that is too small"):
            dataset_array(path, file["data"])
