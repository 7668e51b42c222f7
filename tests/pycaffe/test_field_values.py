"""Bools and numpy's numbers in integer fields, in NetSpec and in messages."""

from __future__ import annotations

import numpy as np
import pytest

from caffecompat.pycaffe import NetSpec
from caffecompat.pycaffe import layers as L
from caffecompat.pycaffe import params as P
from caffecompat.pycaffe.proto import caffe_pb2

WHOLE = [True, np.bool_(True), np.int64(1), np.uint8(1), np.float32(1.0), np.float64(1), np.array(1), np.array(1.0)]


@pytest.mark.parametrize("value", WHOLE, ids=repr)
def test_whole_values(value) -> None:
    net = NetSpec()
    net.data, net.label = L.DummyData(shape=[dict(dim=[2, value]), dict(dim=[2])], ntop=2)
    net.conv = L.Convolution(net.data, num_output=value, kernel_size=[value, value], pad=value, group=value)
    net.loss = L.SoftmaxWithLoss(net.conv, net.label, loss_param=dict(ignore_label=value, normalize=True))
    data, conv, loss = net.to_proto().layer
    assert list(data.dummy_data_param.shape[0].dim) == [2, 1]
    p = conv.convolution_param
    assert (p.num_output, list(p.kernel_size), list(p.pad), p.group) == (1, [1, 1], [1], 1)
    assert loss.loss_param.ignore_label == 1
    message = caffe_pb2.LossParameter()
    message.ignore_label = value
    assert message == caffe_pb2.LossParameter(ignore_label=value)
    nested = caffe_pb2.LayerParameter(convolution_param=dict(num_output=value, kernel_size=[value, 3]))
    assert (nested.convolution_param.num_output, list(nested.convolution_param.kernel_size)) == (1, [1, 3])


@pytest.mark.parametrize("value", [np.bool_(True), True, 1, np.int32(1)], ids=repr)
def test_fields_of_other_kinds_take_them_as_well(value) -> None:
    net = NetSpec()
    net.data = L.Input(shape=dict(dim=[1, 3, 4, 4]))
    net.drop = L.Dropout(net.data, dropout_ratio=np.float32(0.25))
    net.conv = L.Convolution(net.drop, num_output=1, kernel_size=1, bias_term=value, param=[dict(lr_mult=value)])
    net.pool = L.Pooling(net.conv, pool=P.Pooling.AVE, global_pooling=value)
    _, drop, conv, pool = net.to_proto().layer
    assert drop.dropout_param.dropout_ratio == 0.25
    assert conv.convolution_param.bias_term is True and conv.param[0].lr_mult == 1.0
    assert pool.pooling_param.global_pooling is True


@pytest.mark.parametrize("value", [8 / 2, 2.5, np.float64(2.5), "4", None], ids=repr)
def test_what_is_no_integer_is_refused(value) -> None:
    net = NetSpec()
    net.data = L.Input(shape=dict(dim=[1, 3, 4, 4]))
    net.conv = L.Convolution(net.data, num_output=value, kernel_size=1)
    with pytest.raises(TypeError) as found:
        net.to_proto()
    assert "'conv' (Convolution)" in str(found.value) and "num_output" in str(found.value)
    assert ("// gives whole numbers" in str(found.value)) == (value == 4.0)
    with pytest.raises(TypeError):
        caffe_pb2.ConvolutionParameter().num_output = value


def test_messages_are_protobufs_still() -> None:
    layer = caffe_pb2.LayerParameter(name="a", include=[caffe_pb2.NetStateRule(phase=caffe_pb2.TEST)])
    copy = caffe_pb2.LayerParameter.FromString(layer.SerializeToString())
    assert copy == layer and copy.include[0].phase == caffe_pb2.TEST
    with pytest.raises(AttributeError):
        layer.no_such_field = 1
    with pytest.raises((AttributeError, TypeError)):
        layer.include = []
    with pytest.raises(ValueError, match="no_such_field"):
        caffe_pb2.LayerParameter(no_such_field=1)
