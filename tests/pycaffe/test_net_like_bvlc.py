"""What scripts written for BVLC's pycaffe count on in Net: memory, partial passes, saving, states."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

import caffecompat.pycaffe as caffe
from caffecompat.errors import CaffeCompatError

CLASSES = 7
SMALL = f"""
name: "small" force_backward: true
layer {{ name: "data" type: "DummyData" top: "data" top: "label"
  dummy_data_param {{ num: 5 channels: 2 height: 3 width: 4  num: 5 channels: 1 height: 1 width: 1
    data_filler {{ type: "gaussian" std: 1 }} data_filler {{ type: "constant" value: 2 }} }} }}
layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv" param {{ decay_mult: 1 }} param {{ decay_mult: 0 }}
  convolution_param {{ num_output: 11 kernel_size: 2 pad: 3
    weight_filler {{ type: "gaussian" std: 1 }} bias_filler {{ type: "constant" value: 2 }} }} }}
layer {{ name: "ip" type: "InnerProduct" bottom: "conv" top: "ip_blob"
  inner_product_param {{ num_output: {CLASSES}
    weight_filler {{ type: "gaussian" std: 2.5 }} bias_filler {{ type: "constant" value: -3 }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip_blob" bottom: "label" top: "loss" }}
"""
STATES = """
layer { name: "data" type: "DummyData" top: "data" dummy_data_param { shape { dim: 1 dim: 1 dim: 4 dim: 4 } } }
layer { name: "any" type: "InnerProduct" bottom: "data" top: "any" inner_product_param { num_output: 1 } }
layer { name: "low" type: "InnerProduct" bottom: "data" top: "low" include { max_level: 0 }
  inner_product_param { num_output: 1 } }
layer { name: "high" type: "InnerProduct" bottom: "data" top: "high" include { min_level: 1 }
  inner_product_param { num_output: 1 } }
layer { name: "a" type: "InnerProduct" bottom: "data" top: "a" include { stage: "A" }
  inner_product_param { num_output: 1 } }
layer { name: "not_a" type: "InnerProduct" bottom: "data" top: "not_a" include { not_stage: "A" }
  inner_product_param { num_output: 1 } }
layer { name: "a_and_b" type: "InnerProduct" bottom: "data" top: "a_and_b" include { stage: "A" stage: "B" }
  inner_product_param { num_output: 1 } }
layer { name: "train" type: "InnerProduct" bottom: "data" top: "train" exclude { phase: TEST }
  inner_product_param { num_output: 1 } }
"""


@pytest.fixture
def prototxt(tmp_path: Path) -> str:
    path = tmp_path / "small.prototxt"
    path.write_text(SMALL)
    return str(path)


@pytest.fixture
def net(prototxt: str) -> caffe.Net:
    return caffe.Net(prototxt, caffe.TRAIN)


def test_arrays_outlive_the_net(net: caffe.Net) -> None:
    net.forward()
    params = [blob for blobs in net.params.values() for blob in blobs]
    blobs, loss = list(net.blobs.values()), net.blobs["loss"].data
    del net
    assert all(np.isfinite(blob.data).all() and np.isfinite(blob.diff).all() for blob in (*params, *blobs))
    assert loss > 0


def test_names_of_everything(net: caffe.Net) -> None:
    assert net.name == "small"
    assert (net.inputs, net.outputs, net._inputs, net._outputs) == ([], ["loss"], [], [4])
    assert net.top_names == OrderedDict(data=["data", "label"], conv=["conv"], ip=["ip_blob"], loss=["loss"])
    assert net.bottom_names == OrderedDict(data=[], conv=["data"], ip=["conv"], loss=["ip_blob", "label"])
    assert list(net.layer_dict) == list(net._layer_names) == ["data", "conv", "ip", "loss"]
    assert [net.layer_dict[name] for name in net._layer_names] == list(net.layers)
    assert net._blob_names == ["data", "label", "conv", "ip_blob", "loss"]
    assert (net._bottom_ids(3), net._top_ids(0)) == ([3, 1], [0, 1])
    assert net.blob_loss_weights["loss"] == 1 and net.blob_loss_weights["conv"] == 0


def test_one_layer_forward_from_what_python_wrote(net: caffe.Net) -> None:
    conv = net.blobs["conv"].data
    conv[:] = np.random.uniform(size=conv.shape)
    made = net.forward(start="ip", end="ip")
    assert list(made) == ["ip_blob"]
    weights, bias = (blob.data for blob in net.params["ip"])
    np.testing.assert_allclose(made["ip_blob"], conv.reshape(5, -1) @ weights.T + bias, rtol=1e-3, atol=1e-4)


def test_one_layer_backward_from_what_python_wrote(net: caffe.Net) -> None:
    conv, top = net.blobs["conv"], net.blobs["ip_blob"]
    conv.data[:] = np.random.uniform(size=conv.shape)
    net.forward(start="ip", end="ip")
    top.diff[:] = np.random.uniform(size=top.shape)
    made = net.backward(start="ip", end="ip")
    assert list(made) == ["conv"]
    weights, bias = net.params["ip"]
    np.testing.assert_allclose(made["conv"].reshape(5, -1), top.diff @ weights.data, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(weights.diff, top.diff.T @ conv.data.reshape(5, -1), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(bias.diff, top.diff.sum(0), rtol=1e-3, atol=1e-4)


def test_gradients_add_up_until_cleared_in_place(net: caffe.Net) -> None:
    net.forward()
    net.backward()
    diff = net.params["conv"][0].diff
    once = diff.copy()
    assert once.max() > 0
    net.backward()
    np.testing.assert_allclose(diff, 2 * once, rtol=1e-4, atol=1e-6)
    net.clear_param_diffs()
    assert (diff == 0).all()


def test_backward_alone_computes_from_the_blobs_as_they_stand(net: caffe.Net) -> None:
    net.blobs["ip_blob"].diff[...] = 1
    net.backward(start="ip")
    assert net.params["ip"][1].diff.tolist() == [5.0] * CLASSES
    assert net.blobs["data"].diff.any()


def test_constant_dummy_data_keeps_what_is_written(net: caffe.Net) -> None:
    assert (net.blobs["label"].data == 2).all()
    labels = np.random.randint(CLASSES, size=(5, 1, 1, 1))
    net.blobs["label"].data[...] = labels
    before = net.forward(["data"])["data"].copy()
    again = net.forward(["data"])["data"]
    assert (net.blobs["label"].data == labels).all()
    assert not np.array_equal(before, again)  # the gaussian one is drawn again


@pytest.mark.parametrize("hdf5", [False, True])
def test_saving_and_reading(net: caffe.Net, prototxt: str, tmp_path: Path, hdf5: bool) -> None:
    path = str(tmp_path / "no_extension")
    (net.save_hdf5 if hdf5 else net.save)(path)
    others = [caffe.Net(prototxt, path, caffe.TRAIN), caffe.Net(prototxt, caffe.TRAIN, weights=path)]
    others.append(caffe.Net(prototxt, caffe.TRAIN, 0, [], path))
    late = caffe.Net(prototxt, caffe.TRAIN)
    held = late.params["conv"][0].data
    (late.load_hdf5 if hdf5 else late.copy_from)(path)
    for other in [*others, late]:
        for name, blobs in net.params.items():
            for mine, theirs in zip(blobs, other.params[name], strict=True):
                assert np.array_equal(mine.data, theirs.data)
    assert np.array_equal(held, net.params["conv"][0].data)  # loaded into the arrays that there were


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"any", "low", "not_a"}),
        ({"level": 1}, {"any", "high", "not_a"}),
        ({"stages": ["A"]}, {"any", "low", "a"}),
        ({"stages": ["B"]}, {"any", "low", "not_a"}),
        ({"stages": ["A", "B"], "level": 1}, {"any", "high", "a", "a_and_b"}),
        ({"phase": caffe.TRAIN}, {"any", "low", "not_a", "train"}),
    ],
)
def test_levels_and_stages(tmp_path: Path, options: dict, expected: set[str]) -> None:
    path = tmp_path / "states.prototxt"
    path.write_text(STATES)
    net = caffe.Net(str(path), **{"phase": caffe.TEST, **options})
    assert {blob for blob in net.blobs if "data" not in blob} == expected
    assert set(net.forward()) == expected


def test_arguments_that_make_no_sense(prototxt: str) -> None:
    with pytest.raises(TypeError, match="phase"):
        caffe.Net(prototxt)
    with pytest.raises(TypeError, match="no argument 'stage'"):
        caffe.Net(prototxt, caffe.TEST, stage=["a"])
    with pytest.raises(TypeError, match="'phase' twice"):
        caffe.Net(prototxt, caffe.TEST, phase=caffe.TEST)
    with pytest.raises(TypeError, match="arguments were given"):
        caffe.Net(prototxt, "weights", caffe.TEST, 0)


def test_layers_that_are_not_there(net: caffe.Net) -> None:
    with pytest.raises(ValueError, match="no layer 'convv'; did you mean 'conv'"):
        net.forward(start="convv")
    with pytest.raises(ValueError, match="no layer 'x'"):
        net.backward(end="x")


def test_forward_backward_all(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(
        'force_backward: true input: "x" input_shape { dim: 2 dim: 3 }\n'
        'layer { name: "y" type: "Power" bottom: "x" top: "y" power_param { power: 2 } }'
    )
    net = caffe.Net(str(path), caffe.TRAIN)
    x = np.arange(15, dtype=np.float32).reshape(5, 3)
    outs, diffs = net.forward_backward_all(x=x, y=np.full((5, 3), 0.5, np.float32))
    np.testing.assert_allclose(outs["y"], x**2)
    np.testing.assert_allclose(diffs["x"], x)
    assert net.forward_all(["x"], x=x)["x"].shape == (5, 3)


def test_callbacks_see_every_layer(net: caffe.Net) -> None:
    seen: list[tuple[str, int]] = []
    for occasion in ("before_forward", "after_forward", "before_backward", "after_backward"):
        getattr(net, occasion)(lambda index, occasion=occasion: seen.append((occasion, index)))
    net.forward(start="conv", end="ip")
    net.backward(start="ip", end="ip")
    assert seen == [
        ("before_forward", 1), ("after_forward", 1), ("before_forward", 2), ("after_forward", 2),
        ("before_backward", 2), ("after_backward", 2),
    ]  # fmt: skip


def test_memory_data_reads_the_arrays_given(tmp_path: Path, net: caffe.Net) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "m" type: "MemoryData" top: "data" top: "label"\n'
        "memory_data_param { batch_size: 2 channels: 1 height: 1 width: 3 } }\n"
        'layer { name: "p" type: "Power" bottom: "data" top: "p" power_param { scale: 10 } }\n'
        'layer { name: "s" type: "Silence" bottom: "label" }'
    )
    memory = caffe.Net(str(path), caffe.TEST)
    memory.set_input_arrays(np.arange(12, dtype=np.float32).reshape(4, 1, 1, 3), np.arange(4, dtype=np.float32))
    firsts = [memory.forward()["p"][0, 0, 0, 0] for _ in range(3)]
    assert firsts == [0, 60, 0]
    assert memory.blobs["label"].data.tolist() == [0, 1]
    with pytest.raises(CaffeCompatError, match="multiple of the batch size"):
        memory.set_input_arrays(np.zeros((3, 1, 1, 3), np.float32), np.zeros(3, np.float32))
    with pytest.raises(CaffeCompatError, match="MemoryData; here it is DummyData"):
        net.set_input_arrays(np.zeros((2, 1, 1, 3), np.float32), np.zeros(2, np.float32))


def test_types() -> None:
    assert {"Data", "Convolution", "InnerProduct", "Python", "Input", "MemoryData"} <= set(caffe.layer_type_list())
