"""LeNet for MNIST, with the layer names and rates of Caffe's own example, so that its weights load by name."""

from __future__ import annotations

from caffecompat.schema import pb
from caffecompat.zoo.builder import NetBuilder

__all__ = ["scores"]


def _learn(layer: pb.LayerParameter, param: pb.ConvolutionParameter | pb.InnerProductParameter) -> None:
    layer.param.add(lr_mult=1)
    layer.param.add(lr_mult=2)
    param.weight_filler.type = "xavier"


def _conv(b: NetBuilder, name: str, bottom: str, outputs: int) -> str:
    layer = b.layer("Convolution", name, (bottom,), (name,))
    layer.convolution_param.num_output = outputs
    layer.convolution_param.kernel_size.append(5)
    _learn(layer, layer.convolution_param)
    return name


def _pool(b: NetBuilder, name: str, bottom: str) -> str:
    param = b.layer("Pooling", name, (bottom,), (name,)).pooling_param
    param.pool = pb.PoolingParameter.MAX
    param.kernel_size = param.stride = 2
    return name


def _inner_product(b: NetBuilder, name: str, bottom: str, outputs: int) -> str:
    layer = b.layer("InnerProduct", name, (bottom,), (name,))
    layer.inner_product_param.num_output = outputs
    _learn(layer, layer.inner_product_param)
    return name


def scores(b: NetBuilder, data: str, classes: int) -> str:
    """The network; returns the blob of class scores, ``ip2``."""
    blob = _pool(b, "pool1", _conv(b, "conv1", data, 20))
    blob = _pool(b, "pool2", _conv(b, "conv2", blob, 50))
    blob = _inner_product(b, "ip1", blob, 500)
    b.layer("ReLU", "relu1", (blob,), (blob,))
    return _inner_product(b, "ip2", blob, classes)
