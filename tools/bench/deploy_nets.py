"""deploy.prototxt texts of the nets that the benchmarks run, batch of one."""

from __future__ import annotations

from typing import Any

import train_nets

import caffecompat.pycaffe as caffe
from caffecompat.schema import parse_text, pb, write_text
from caffecompat.zoo import NETWORKS, network_files

__all__ = ["alexnet", "espnet", "googlenet", "lenet", "vgg16"]

_LEARNED: dict[str, Any] = {"weight_filler": {"type": "msra"}}


def lenet() -> str:
    """LeNet's."""
    message = parse_text(network_files(NETWORKS["lenet"])["deploy.prototxt"], pb.NetParameter())
    message.layer[0].input_param.shape[0].dim[0] = 1
    return write_text(message)


def alexnet() -> str:
    """BVLC's AlexNet's."""
    spec = train_nets.alexnet()
    message = pb.NetParameter(name=spec.name)
    data = message.layer.add(name="data", type="Input", top=["data"])
    data.input_param.shape.add().dim[:] = [1, 3, 227, 227]
    message.layer.extend(spec.layer[1:-1])
    message.layer.add(name="prob", type="Softmax", bottom=["fc8"], top=["prob"])
    return write_text(message)


def googlenet() -> str:
    """GoogLeNet's deploy.prototxt (BVLC's), batch of one."""
    spec = caffe.NetSpec()

    def conv(bottom: Any, name: str, outputs: int, kernel: int, stride: int = 1) -> Any:
        made = caffe.layers.Convolution(
            bottom, num_output=outputs, kernel_size=kernel, stride=stride, pad=kernel // 2, **_LEARNED
        )
        spec[name] = made
        spec[f"{name}/relu"] = relu = caffe.layers.ReLU(made, in_place=True)
        return relu

    def pool(bottom: Any, kernel: int, stride: int, pad: int = 0, kind: int = caffe.params.Pooling.MAX) -> Any:
        return caffe.layers.Pooling(bottom, pool=kind, kernel_size=kernel, stride=stride, pad=pad)

    def inception(bottom: Any, name: str, *sizes: int) -> Any:
        one, three_before, three, five_before, five, pooled = sizes
        branches = [
            conv(bottom, f"{name}/1x1", one, 1),
            conv(conv(bottom, f"{name}/3x3_reduce", three_before, 1), f"{name}/3x3", three, 3),
            conv(conv(bottom, f"{name}/5x5_reduce", five_before, 1), f"{name}/5x5", five, 5),
            conv(pool(bottom, 3, 1, 1), f"{name}/pool_proj", pooled, 1),
        ]
        spec[f"{name}/output"] = caffe.layers.Concat(*branches)
        return spec[f"{name}/output"]

    spec.data = caffe.layers.Input(shape={"dim": [1, 3, 224, 224]})
    x = pool(conv(spec.data, "conv1", 64, 7, 2), 3, 2)
    x = caffe.layers.LRN(x, local_size=5, alpha=1e-4, beta=0.75)
    x = conv(conv(x, "conv2/3x3_reduce", 64, 1), "conv2/3x3", 192, 3)
    x = pool(caffe.layers.LRN(x, local_size=5, alpha=1e-4, beta=0.75), 3, 2)
    x = inception(x, "inception_3a", 64, 96, 128, 16, 32, 32)
    x = pool(inception(x, "inception_3b", 128, 128, 192, 32, 96, 64), 3, 2)
    x = inception(x, "inception_4a", 192, 96, 208, 16, 48, 64)
    x = inception(x, "inception_4b", 160, 112, 224, 24, 64, 64)
    x = inception(x, "inception_4c", 128, 128, 256, 24, 64, 64)
    x = inception(x, "inception_4d", 112, 144, 288, 32, 64, 64)
    x = pool(inception(x, "inception_4e", 256, 160, 320, 32, 128, 128), 3, 2)
    x = inception(x, "inception_5a", 256, 160, 320, 32, 128, 128)
    x = inception(x, "inception_5b", 384, 192, 384, 48, 128, 128)
    x = caffe.layers.Dropout(pool(x, 7, 1, kind=caffe.params.Pooling.AVE), dropout_ratio=0.4, in_place=False)
    spec.classifier = caffe.layers.InnerProduct(x, num_output=1000, **_LEARNED)
    spec.prob = caffe.layers.Softmax(spec.classifier)
    return str(spec.to_proto())


def espnet(height: int, width: int) -> str:
    """ESPNet's deploy.prototxt for pictures of this size."""
    message = parse_text(network_files(NETWORKS["espnet"])["deploy.prototxt"], pb.NetParameter())
    message.layer[0].input_param.shape[0].dim[:] = [1, 3, height, width]
    return write_text(message)


def vgg16() -> str:
    """VGG16's, as its authors published it for Caffe."""
    spec = caffe.NetSpec()
    spec.data = x = caffe.layers.Input(shape={"dim": [1, 3, 224, 224]})
    for stage, (depth, outputs) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), 1):
        for place in range(1, depth + 1):
            x = caffe.layers.Convolution(x, num_output=outputs, kernel_size=3, pad=1, **_LEARNED)
            spec[f"conv{stage}_{place}"] = x
            spec[f"relu{stage}_{place}"] = x = caffe.layers.ReLU(x, in_place=True)
        spec[f"pool{stage}"] = x = caffe.layers.Pooling(x, pool=caffe.params.Pooling.MAX, kernel_size=2, stride=2)
    for name, outputs in (("fc6", 4096), ("fc7", 4096)):
        spec[name] = x = caffe.layers.InnerProduct(x, num_output=outputs, **_LEARNED)
        spec[f"{name}_relu"] = x = caffe.layers.ReLU(x, in_place=True)
        spec[f"{name}_drop"] = x = caffe.layers.Dropout(x, in_place=True)
    spec.fc8 = caffe.layers.InnerProduct(x, num_output=1000, **_LEARNED)
    spec.prob = caffe.layers.Softmax(spec.fc8)
    return str(spec.to_proto())
