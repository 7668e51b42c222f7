"""pycaffe's Net: construction, blobs, running, weights."""

from pathlib import Path

import numpy as np
import pytest

import caffecompat.pycaffe as caffe
from tests.net.nets import INPUT, conv, layer

TEXT = (
    INPUT + conv("c", "data") + layer("ReLU", "c", "c", name="r") + layer("TanH", "c", "t") + layer("Softmax", "c", "p")
)


@pytest.fixture
def prototxt(tmp_path: Path) -> Path:
    path = tmp_path / "net.prototxt"
    path.write_text(TEXT)
    return path


def test_three_ways_to_make_one(prototxt: Path, tmp_path: Path) -> None:
    first = caffe.Net(str(prototxt), caffe.TEST)
    first.save(str(tmp_path / "w.caffemodel"))
    second = caffe.Net(str(prototxt), str(tmp_path / "w.caffemodel"), caffe.TEST)
    third = caffe.Net(str(prototxt), caffe.TEST, weights=str(tmp_path / "w.caffemodel"), stages=["deploy"], level=1)
    for net in (second, third):
        assert np.array_equal(net.params["c"][0].data, first.params["c"][0].data)
    with pytest.raises(TypeError, match="phase"):
        caffe.Net(str(prototxt))


def test_names_and_types_include_splits(prototxt: Path) -> None:
    net = caffe.Net(str(prototxt), caffe.TEST)
    assert net._layer_names == ["data", "c", "r", "c_r_0_split", "t", "p"]
    assert [x.type for x in net.layers] == ["Input", "Convolution", "ReLU", "Split", "TanH", "Softmax"]
    assert list(net.blobs) == ["data", "c", "c_r_0_split_0", "c_r_0_split_1", "t", "p"]
    assert (net.inputs, net.outputs) == (["data"], ["p", "t"])
    assert net.top_names["c_r_0_split"] == ["c_r_0_split_0", "c_r_0_split_1"]
    assert [len(x.blobs) for x in net.layers] == [0, 2, 0, 0, 0, 0]


def test_blob_shape_and_legacy_names(prototxt: Path) -> None:
    net = caffe.Net(str(prototxt), caffe.TEST)
    blob = net.blobs["data"]
    assert (blob.num, blob.channels, blob.height, blob.width, blob.count) == (2, 3, 6, 6, 216)
    assert (net.params["c"][1].num, net.params["c"][1].width) == (4, 1)
    with pytest.raises(ValueError, match="keeps its shape"):
        net.params["c"][0].reshape(1)


def test_forward_by_keyword_and_between_layers(prototxt: Path) -> None:
    net = caffe.Net(str(prototxt), caffe.TEST)
    data = np.random.rand(2, 3, 6, 6)
    out = net.forward(data=data)
    assert set(out) == {"p", "t"}
    assert out["p"].sum(1) == pytest.approx(1)
    assert out["p"] is net.blobs["p"].data or np.shares_memory(out["p"], net.blobs["p"].data)
    assert set(net.forward(["c"], end="r")) == {"c"}
    with pytest.raises(ValueError, match="do not match"):
        net.forward(other=data)
    with pytest.raises(ValueError, match="batch sized"):
        net.forward(data=data[:1])


def test_forward_all_pads_the_last_batch(prototxt: Path) -> None:
    net = caffe.Net(str(prototxt), caffe.TEST)
    data = np.random.rand(5, 3, 6, 6).astype(np.float32)
    every = net.forward_all(data=data)["t"]
    assert every.shape == (5, 4, 6, 6)
    np.testing.assert_array_equal(every[4:], net.forward(data=np.concatenate([data[4:]] * 2))["t"][:1])


def test_backward_and_clearing(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text("force_backward: true\n" + TEXT)
    net = caffe.Net(str(path), caffe.TRAIN)
    net.forward(data=np.random.rand(2, 3, 6, 6))
    diffs = net.backward(t=np.ones((2, 4, 6, 6)), p=np.zeros((2, 4, 6, 6)))
    assert diffs["data"].shape == (2, 3, 6, 6)
    assert net.params["c"][0].diff.any()
    net.clear_param_diffs()
    assert not net.params["c"][0].diff.any()


def test_writing_parameters_changes_the_net(prototxt: Path) -> None:
    net = caffe.Net(str(prototxt), caffe.TEST)
    net.params["c"][0].data[...] = 0
    net.params["c"][1].data.flat = [0, 1, 2, 3]
    net.forward(data=np.random.rand(2, 3, 6, 6))
    assert net.blobs["c"].data[0, :, 0, 0].tolist() == [0, 1, 2, 3]


def test_reshape_and_sharing(prototxt: Path) -> None:
    first, second = caffe.Net(str(prototxt), caffe.TEST), caffe.Net(str(prototxt), caffe.TEST)
    second.share_with(first)
    second.blobs["data"].reshape(1, 3, 4, 4)
    second.reshape()
    assert second.blobs["p"].data.shape == (1, 4, 4, 4)
    first.params["c"][0].data[...] = 7
    assert (second.params["c"][0].data == 7).all()


def test_layer_types() -> None:
    assert {"Convolution", "Input", "Data", "SoftmaxWithLoss"} <= set(caffe.layer_type_list())
