"""NetSpec: the nets that scripts write are those that BVLC's net_spec writes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffecompat.pycaffe as caffe
from caffecompat.pycaffe import layers as L
from caffecompat.pycaffe import params as P
from caffecompat.pycaffe.net_spec import NetSpec, SpecError, assign_proto, param_name_dict, to_proto
from caffecompat.pycaffe.proto import caffe_pb2


def lenet(batch_size: int) -> Any:
    n = caffe.NetSpec()
    n.data, n.label = L.DummyData(
        shape=[dict(dim=[batch_size, 1, 28, 28]), dict(dim=[batch_size, 1, 1, 1])],
        transform_param=dict(scale=1.0 / 255),
        ntop=2,
    )
    n.conv1 = L.Convolution(n.data, kernel_size=5, num_output=20, weight_filler=dict(type="xavier"))
    n.pool1 = L.Pooling(n.conv1, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.conv2 = L.Convolution(n.pool1, kernel_size=5, num_output=50, weight_filler=dict(type="xavier"))
    n.pool2 = L.Pooling(n.conv2, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.ip1 = L.InnerProduct(n.pool2, num_output=500, weight_filler=dict(type="xavier"))
    n.relu1 = L.ReLU(n.ip1, in_place=True)
    n.ip2 = L.InnerProduct(n.relu1, num_output=10, weight_filler=dict(type="xavier"))
    n.loss = L.SoftmaxWithLoss(n.ip2, n.label)
    return n.to_proto()


def nonlinear(source: str, batch_size: int) -> Any:
    n = NetSpec()
    n.data, n.label = L.HDF5Data(batch_size=batch_size, source=source, ntop=2)
    n.ip1 = L.InnerProduct(n.data, num_output=40, weight_filler=dict(type="xavier"))
    n.relu1 = L.ReLU(n.ip1, in_place=True)
    n.ip2 = L.InnerProduct(n.ip1, num_output=2, weight_filler=dict(type="xavier"))
    n.accuracy = L.Accuracy(n.ip2, n.label)
    n.loss = L.SoftmaxWithLoss(n.ip2, n.label)
    return n.to_proto()


def load(net_proto: Any, folder: Path) -> caffe.Net:
    path = folder / "spec.prototxt"
    path.write_text(str(net_proto))
    return caffe.Net(str(path), caffe.TEST)


def test_named_layers_load(tmp_path: Path) -> None:
    proto = lenet(50)
    assert proto.layer[6].bottom == proto.layer[6].top == ["ip1"]
    assert [layer.name for layer in proto.layer] == [
        "data", "conv1", "pool1", "conv2", "pool2", "ip1", "relu1", "ip2", "loss",
    ]  # fmt: skip
    net = load(proto, tmp_path)
    assert len(net.layers) == 9
    assert net.blobs["ip2"].shape == (50, 10)


@pytest.mark.parametrize(("file", "source", "batch"), [("train", "train.txt", 10), ("test", "test.txt", 10)])
def test_text_is_that_of_bvlc(shared: Path, file: str, source: str, batch: int) -> None:
    recorded = shared / f"real/bvlc/examples/hdf5_classification/nonlinear_auto_{file}.prototxt"
    assert str(nonlinear(f"examples/hdf5_classification/data/{source}", batch)) == recorded.read_text()


def test_generated_names_count_by_type(tmp_path: Path) -> None:
    data, label = L.DummyData(shape=[dict(dim=[2, 1, 8, 8]), dict(dim=[2])], ntop=2)
    conv = L.Convolution(data, kernel_size=3, num_output=2)
    relu = L.ReLU(conv, in_place=True)
    ip = L.InnerProduct(L.Convolution(relu, kernel_size=3, num_output=2), num_output=3)
    proto = to_proto(L.SoftmaxWithLoss(ip, label))
    assert [(x.name, list(x.bottom), list(x.top)) for x in proto.layer] == [
        ("DummyData1", [], ["DummyData1", "DummyData2"]),
        ("Convolution1", ["DummyData1"], ["Convolution1"]),
        ("ReLU1", ["Convolution1"], ["Convolution1"]),
        ("Convolution2", ["Convolution1"], ["Convolution2"]),
        ("InnerProduct1", ["Convolution2"], ["InnerProduct1"]),
        ("SoftmaxWithLoss1", ["InnerProduct1", "DummyData2"], ["SoftmaxWithLoss1"]),
    ]
    assert len(load(proto, tmp_path).layers) == 6


def test_unnamed_layers_stand_before_the_one_that_needs_them() -> None:
    n = NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 3]))
    n.sum = L.Eltwise(L.Power(n.data), L.Power(n.data, scale=2), n.data)
    assert [x.name for x in n.to_proto().layer] == ["data", "Power1", "Power2", "sum"]
    assert list(n.to_proto().layer[-1].bottom) == ["Power1", "Power2", "data"]


def test_a_layer_without_tops(tmp_path: Path) -> None:
    n = NetSpec()
    n.data, n.data2 = L.DummyData(shape=dict(dim=3), ntop=2)
    n.silence_data = L.Silence(n.data, ntop=0)
    n.silence_data2 = L.Silence(n.data2, ntop=0)
    proto = n.to_proto()
    assert [(x.name, list(x.top)) for x in proto.layer[1:]] == [("silence_data", []), ("silence_data2", [])]
    assert len(load(proto, tmp_path).forward()) == 0
    assert to_proto(L.Silence(n.data, ntop=0)).layer[1].name == "Silence1"


def test_where_keywords_go() -> None:
    layer = to_proto(
        L.Data(
            source="db", backend=P.Data.LMDB, batch_size=np.int64(4), transform_param=dict(mean_value=[1, 2, 3]),
            include=dict(phase=caffe_pb2.TRAIN, stage=["a", "b"]), name="reader",
        )
    ).layer[0]  # fmt: skip
    assert (layer.data_param.source, layer.data_param.backend, layer.data_param.batch_size) == ("db", 1, 4)
    assert list(layer.transform_param.mean_value) == [1, 2, 3]
    assert [(rule.phase, list(rule.stage)) for rule in layer.include] == [(caffe.TRAIN, ["a", "b"])]
    assert layer.name == "reader"
    data = L.Input()
    conv = to_proto(
        L.Convolution(data, kernel_size=(3, 5), num_output=2, param=[dict(lr_mult=1), dict(lr_mult=2)], loss_weight=0.5)
    ).layer[1]
    assert list(conv.convolution_param.kernel_size) == [3, 5]
    assert [param.lr_mult for param in conv.param] == [1, 2]
    assert list(conv.loss_weight) == [0.5]
    deconv = to_proto(L.Deconvolution(data, convolution_param=dict(num_output=1, kernel_size=4), param=dict(name="w")))
    assert list(deconv.layer[1].convolution_param.kernel_size) == [4]
    assert deconv.layer[1].param[0].name == "w"
    python = to_proto(L.Python(data, module="m", layer="C", param_str="{'a': 1}", ntop=1)).layer[1].python_param
    assert (python.module, python.layer, python.param_str) == ("m", "C", "{'a': 1}")


def test_layers_of_the_forks() -> None:
    data = L.Input()
    box = to_proto(L.PriorBox(data, data, min_size=[30.0], flip=True)).layer[1]
    assert (list(box.prior_box_param.min_size), box.prior_box_param.flip) == ([30.0], True)
    assert to_proto(L.Normalize(data, across_spatial=False)).layer[1].norm_param.HasField("across_spatial")
    assert to_proto(L.BN(data, bn_mode=P.BN.INFERENCE)).layer[1].bn_param.bn_mode == P.BN.INFERENCE
    names = param_name_dict()
    assert (names["InnerProduct"], names["MVN"], names["MultiBoxLoss"]) == ("inner_product", "mvn", "multibox_loss")


def test_updating_and_editing_a_spec() -> None:
    n = NetSpec()
    n["data"] = L.Input(shape=dict(dim=[1, 3, 4, 4]))
    n.conv = L.Convolution(n.data, kernel_size=1, num_output=2)
    n.update("conv", dict(num_output=7, pad=1))
    assert n["conv"] is n.conv and n.keys() == ["data", "conv"] and n.vals() == [n.data, n.conv]
    assert n.to_proto().layer[1].convolution_param.num_output == 7
    twin = copy.copy(n)
    del n["conv"]
    assert n.keys() == ["data"] and len(n.to_proto().layer) == 1
    assert twin.tops is n.tops


def test_a_thousand_layers_deep() -> None:
    top = L.Input(shape=dict(dim=[1, 2]))
    for _ in range(1500):
        top = L.ReLU(top)
    layers = to_proto(top).layer
    assert (len(layers), layers[-1].name) == (1501, "ReLU1500")


def test_mistakes_are_named() -> None:
    pair = L.DummyData(shape=dict(dim=1), ntop=2)
    with pytest.raises(TypeError, match=r"^Silence input 0 is not a Top \(type is <class 'tuple'>\)$"):
        L.Silence(pair, ntop=0)
    data = L.Input()
    with pytest.raises(AttributeError, match=r"'Convolution1'.*'kernal_size'; did you mean 'kernel_size'"):
        to_proto(L.Convolution(data, kernal_size=3))
    with pytest.raises(SpecError, match="FillerParameter has no field 'kind'"):
        to_proto(L.Convolution(data, weight_filler=dict(kind="xavier")))
    with pytest.raises(TypeError, match=r"ConvolutionParameter\.num_output = 'two'"):
        to_proto(L.Convolution(data, num_output="two"))
    with pytest.raises(ValueError, match=r"BlobShape\.dim = \[99999999999999999999\]"):
        to_proto(L.Input(shape=dict(dim=[99999999999999999999])))
    n = NetSpec()
    n.data = pair
    with pytest.raises(TypeError, match=r"'data' is not a Top.*as many names"):
        n.to_proto()
    with pytest.raises(KeyError, match="no top 'dato'; did you mean 'data'"):
        n.dato  # noqa: B018
    with pytest.raises(AttributeError, match="no message, enum or enum value 'PoolinParameter'"):
        P.Poolin.MAX  # noqa: B018


def test_assigning_to_messages() -> None:
    net = caffe_pb2.NetParameter()
    assign_proto(net, "layer", [dict(name="a", top=["x"]), dict(name="b", bottom="x")])
    assign_proto(net, "state", dict(phase=caffe.TEST, stage="s"))
    assert [(x.name, list(x.top), list(x.bottom)) for x in net.layer] == [("a", ["x"], []), ("b", [], ["x"])]
    assert (net.state.phase, list(net.state.stage)) == (caffe.TEST, ["s"])
