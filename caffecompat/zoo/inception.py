"""The body of GoogLeNet (inception v1), with the layer names of Caffe's own model."""

from __future__ import annotations

from typing import Protocol

from caffecompat.pycaffe.net_spec import NetSpec, Top
from caffecompat.pycaffe.net_spec import layers as L
from caffecompat.pycaffe.net_spec import params as P

__all__ = ["Conv", "add_body", "relu_name"]

# Channels of each module: 1x1, then 3x3 and 5x5 with the 1x1 before them, then the 1x1 after the pooling.
_MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


class Conv(Protocol):
    """Adds a convolution and all that comes with it up to its ReLU, padded so that stride 1 keeps the size."""

    def __call__(self, n: NetSpec, bottom: Top, name: str, outputs: int, kernel: int, stride: int = 1) -> Top: ...


def relu_name(conv: str) -> str:
    """The name of a convolution's ReLU: conv1/relu_7x7 after conv1/7x7_s2."""
    part, _, kind = conv.partition("/")
    return f"{part}/relu_{kind.removesuffix('_s2')}"


def add_body(n: NetSpec, data: Top, conv: Conv, *, local_norm: bool) -> Top:
    """Down to a 32nd of the picture, 1024 channels; the modules' outputs are ``n["inception_3a/output"]`` and so on.

    Args:
        conv: adds the convolutions.
        local_norm: whether to normalize over neighboring channels twice, as the published net does.
    """
    blob = _pool(n, conv(n, data, "conv1/7x7_s2", 64, 7, 2), "pool1/3x3_s2")
    if local_norm:
        blob = _lrn(n, blob, "pool1/norm1")
    blob = conv(n, conv(n, blob, "conv2/3x3_reduce", 64, 1), "conv2/3x3", 192, 3)
    if local_norm:
        blob = _lrn(n, blob, "conv2/norm2")
    blob = _pool(n, blob, "pool2/3x3_s2")
    for name in _MODULES:
        if name in ("4a", "5a"):
            blob = _pool(n, blob, f"pool{int(name[0]) - 1}/3x3_s2")
        blob = _module(n, blob, name, conv)
    return blob


def _module(n: NetSpec, bottom: Top, name: str, conv: Conv) -> Top:
    one, before3, three, before5, five, pooled = _MODULES[name]
    prefix = f"inception_{name}"
    parts = [
        conv(n, bottom, f"{prefix}/1x1", one, 1),
        conv(n, conv(n, bottom, f"{prefix}/3x3_reduce", before3, 1), f"{prefix}/3x3", three, 3),
        conv(n, conv(n, bottom, f"{prefix}/5x5_reduce", before5, 1), f"{prefix}/5x5", five, 5),
    ]
    n[f"{prefix}/pool"] = L.Pooling(bottom, pool=P.Pooling.MAX, kernel_size=3, stride=1, pad=1)
    parts.append(conv(n, n[f"{prefix}/pool"], f"{prefix}/pool_proj", pooled, 1))
    n[f"{prefix}/output"] = L.Concat(*parts)
    return n[f"{prefix}/output"]


def _pool(n: NetSpec, bottom: Top, name: str) -> Top:
    n[name] = L.Pooling(bottom, pool=P.Pooling.MAX, kernel_size=3, stride=2)
    return n[name]


def _lrn(n: NetSpec, bottom: Top, name: str) -> Top:
    n[name] = L.LRN(bottom, local_size=5, alpha=1e-4, beta=0.75)
    return n[name]
