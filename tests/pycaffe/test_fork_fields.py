"""Forks' names of BVLC's fields in scripts: NetSpec writes them, nets obey them, coordinates follow them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import caffecompat.pycaffe as caffe
from caffecompat.pycaffe import layers as L
from caffecompat.pycaffe.coord_map import coord_map_from_to, crop


def test_net_spec_writes_what_was_said_and_the_net_obeys(tmp_path: Path) -> None:
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 1, 9, 9]))
    n.conv = L.Convolution(
        n.data, num_output=1, kernel_size=3, pad=2, hole=2, weight_filler=dict(type="constant", value=1)
    )
    n.down = L.Pooling(n.data, kernel_size=2, stride=2, ceil_mode=False)
    n.up = L.Pooling(n.data, kernel_size=2, stride=2, ceil_mode=True)
    text = str(n.to_proto())
    assert "hole: 2" in text and "ceil_mode: false" in text
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    net = caffe.Net(str(path), caffe.TEST)
    assert net.blobs["conv"].data.shape == (1, 1, 9, 9)
    assert net.blobs["down"].data.shape == (1, 1, 4, 4) and net.blobs["up"].data.shape == (1, 1, 5, 5)
    picture = np.random.default_rng(1).normal(size=(9, 9)).astype(np.float32)
    net.blobs["data"].data[...] = picture
    made = net.forward()
    np.testing.assert_allclose(made["conv"][0, 0, 4, 4], picture[2:8:2, 2:8:2].sum(), rtol=1e-5)
    np.testing.assert_allclose(made["down"][0, 0], picture[:8, :8].reshape(4, 2, 4, 2).max((1, 3)))


@pytest.mark.parametrize("name", ["hole", "dilation"])
def test_coordinates(name: str) -> None:
    data = L.Input(shape=dict(dim=[1, 1, 9, 9]))
    wide = L.Convolution(data, num_output=1, kernel_size=3, pad=6, **{name: 2})
    axis, scale, shift = coord_map_from_to(wide, data)
    assert (axis, scale, shift) == (1, 1, -4)
    assert crop(wide, data).fn.params["crop_param"]["offset"] == [4]
