"""BlobVec and RawBlobVec, the types of ``net.params[name]`` and of a Python layer's bottoms and tops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffecompat import pycaffe as caffe

NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 4 } }
layer { name: "py" type: "Python" bottom: "ip" bottom: "data" top: "out"
  python_param { module: "vectors" layer: "Vectors" } }
"""
LAYER = """
import caffe
from caffe._caffe import BlobVec, RawBlobVec

class Vectors(caffe.Layer):
    def setup(self, bottom, top):
        assert type(bottom) is RawBlobVec and type(top) is RawBlobVec and len(bottom) == 2 and len(top) == 1
        assert type(self.blobs) is BlobVec and len(self.blobs) == 0
        self.blobs.add_blob(4)
        self.blobs.add_blob(2, 4)
        self.blobs[0].data[...] = 3

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data + self.blobs[0].data
"""


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> caffe.Net:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("net.prototxt").write_text(NET)
    Path("vectors.py").write_text(LAYER)
    return caffe.Net("net.prototxt", caffe.TEST)


def test_parameters_of_a_net(net: caffe.Net) -> None:
    assert caffe._caffe.BlobVec is caffe.BlobVec and caffe._caffe.RawBlobVec is caffe.RawBlobVec
    assert all(type(blobs) is caffe.BlobVec for blobs in net.params.values())
    blobs = net.params["ip"]
    assert len(blobs) == 2 and blobs[-1].data.shape == (4,)
    assert [blob.shape for blob in blobs] == [blob.shape for blob in blobs[:]] == [(4, 3), (4,)]
    assert [blob.shape for blob in blobs[1:]] == [(4,)]
    with pytest.raises(IndexError):
        blobs[2]
    assert type(net.layer_dict["ip"].blobs) is caffe.BlobVec
    with pytest.raises(caffe_error(), match=r"add_blob belongs in setup"):
        blobs.add_blob(3)


def caffe_error() -> type[Exception]:
    from caffecompat import CaffeCompatError

    return CaffeCompatError


def test_parameters_of_a_python_layer(net: caffe.Net) -> None:
    assert [blob.shape for blob in net.params["py"]] == [(4,), (2, 4)]
    net.blobs["data"].data[...] = 0
    net.params["ip"][1].data[...] = 1
    assert (net.forward()["out"] == np.full((2, 4), 4)).all()
    net.params["py"][0].data[...] = 5
    assert (net.forward()["out"] == np.full((2, 4), 6)).all()
