"""Mean files."""

from __future__ import annotations

import numpy as np
import pytest

from caffecompat.formats.mean import MeanError, read_mean, write_mean
from caffecompat.schema import pb


@pytest.mark.parametrize("name", ["raw", "gray", "encpng"])
def test_recorded_means_come_back_byte_for_byte(golden, tmp_path, name):
    recorded = golden / f"data/mean_db_{name}_lmdb.binaryproto"
    mean = read_mean(recorded)
    assert mean.dtype == np.float32
    assert mean.shape == ((1, 32, 32) if name == "gray" else (3, 32, 36))
    write_mean(tmp_path / "mean", mean)
    assert (tmp_path / "mean").read_bytes() == recorded.read_bytes()


def test_newer_shapes_and_doubles(tmp_path):
    blob = pb.BlobProto(double_data=[1, 2, 3, 4])
    blob.shape.dim.extend([2, 1, 2])
    (tmp_path / "mean").write_bytes(blob.SerializeToString())
    assert read_mean(tmp_path / "mean").tolist() == [[[1, 2]], [[3, 4]]]


def test_what_is_no_mean_is_told(tmp_path):
    path = tmp_path / "mean"
    with pytest.raises(MeanError, match="No such file"):
        read_mean(path)
    path.write_text("mean_value: 104\n")
    with pytest.raises(MeanError, match="looks like text"):
        read_mean(path)
    np.save(tmp_path / "mean.npy", np.zeros((3, 2, 2)))
    with pytest.raises(MeanError, match="NumPy"):
        read_mean(tmp_path / "mean.npy")
    path.write_bytes(pb.BlobProto(num=2, channels=1, height=1, width=1, data=[1, 2]).SerializeToString())
    with pytest.raises(MeanError, match="2x1x1x1"):
        read_mean(path)
    path.write_bytes(pb.BlobProto(num=1, channels=3, height=2, width=2, data=[1, 2]).SerializeToString())
    with pytest.raises(MeanError, match="with 2 values"):
        read_mean(path)
