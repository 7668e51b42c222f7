"""HDF5Output: what lies in the file, and when."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from caffecompat.errors import CaffeCompatError
from caffecompat.layers import LayerError
from tests.layers.make import make_layer


def output(path: Path, *shapes: tuple[int, ...]) -> torch.nn.Module:
    return make_layer(f'type: "HDF5Output" hdf5_output_param {{ file_name: "{path}" }}', *shapes)


def test_each_pass_adds_its_rows_in_four_axes(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    layer = output(path, (2, 3), (2,))
    assert not path.exists()  # a net that is only built writes nothing
    data, labels = torch.randn(2, 3), torch.tensor([4.0, 5.0])
    assert layer(data, labels) == ()
    assert layer(data + 1, labels + 2) == ()
    with h5py.File(path) as file:
        assert file["data"].dtype == np.float32
        np.testing.assert_allclose(file["data"][...], torch.cat([data, data + 1]).reshape(4, 3, 1, 1).numpy())
        np.testing.assert_allclose(file["label"][...], np.reshape([4, 5, 6, 7], (4, 1, 1, 1)))


def test_a_new_net_begins_the_file_anew(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    for value in (1.0, 2.0):
        output(path, (1, 2), (1, 1, 2, 2))(torch.full((1, 2), value), torch.zeros(1, 1, 2, 2))
    with h5py.File(path) as file:
        assert file["data"][...].ravel().tolist() == [2, 2] and file["label"].shape == (1, 1, 2, 2)


def test_shape_inference_writes_nothing(tmp_path: Path) -> None:
    layer = output(tmp_path / "out.h5", (2, 3), (2,))
    layer(torch.empty(2, 3, device="meta"), torch.empty(2, device="meta"))
    assert not list(tmp_path.iterdir())


def test_rows_of_another_shape_are_refused(tmp_path: Path) -> None:
    layer = output(tmp_path / "out.h5", (2, 3), (2,))
    layer(torch.zeros(2, 3), torch.zeros(2))
    with pytest.raises(CaffeCompatError, match=r"rows of shape \(4, 1, 1\) cannot follow rows of shape \(3, 1, 1\)"):
        layer(torch.zeros(2, 4), torch.zeros(2))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 3), (3,)), "must have as many items"),
        (((2, 3, 1, 1, 1), (2,)), "more than four axes"),
        (((2, 3),), "takes 2 bottom"),
    ],
)
def test_mistakes(tmp_path: Path, shapes: tuple[tuple[int, ...], ...], message: str) -> None:
    with pytest.raises(LayerError, match=message):
        output(tmp_path / "out.h5", *shapes)


def test_the_file_must_be_named_and_its_folder_be_there(tmp_path: Path) -> None:
    with pytest.raises(LayerError, match="there is no folder"):
        output(tmp_path / "none/out.h5", (1,), (1,))
    with pytest.raises(LayerError, match="file_name is missing"):
        make_layer('type: "HDF5Output"', (1,), (1,))
