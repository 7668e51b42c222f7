"""VGG-16 and ZF of ``caffe.model_libs``, also fully convolutional, reduced and dilated as SSD and DeepLab use them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from caffecompat.pycaffe.model_libs.blocks import PLAIN, freeze, same_padding
from caffecompat.pycaffe.net_spec import NetSpec
from caffecompat.pycaffe.net_spec import layers as L
from caffecompat.pycaffe.net_spec import params as P

__all__ = ["VGGNetBody", "ZFNetBody"]

_VGG16 = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))  # convolutions and channels of each block
# Window of ZF's fc6 by (dilated, reduced).
_ZF_FC6 = {
    (True, True): {"pad": 5, "kernel_size": 3, "dilation": 5},
    (True, False): {"pad": 5, "kernel_size": 6, "dilation": 2},
    (False, True): {"pad": 2, "kernel_size": 3, "dilation": 2},
    (False, False): {"pad": 2, "kernel_size": 6},
}
_VGG_FC6_DILATION = {(True, True): 6, (True, False): 2, (False, True): 3, (False, False): 1}


def VGGNetBody(
    net: NetSpec,
    from_layer: str,
    need_fc: bool = True,
    fully_conv: bool = False,
    reduced: bool = False,
    dilated: bool = False,
    nopool: bool = False,
    dropout: bool = True,
    freeze_layers: Iterable[str] = (),
    dilate_pool4: bool = False,
) -> NetSpec:
    """Add VGG-16 up to ``conv5_3``, or to ``fc7``.

    Args:
        need_fc: with pool5, fc6 and fc7.
        fully_conv: fc6 and fc7 are convolutions that keep the size; else inner products.
        reduced: fc6 has a 3x3 kernel, both have 1024 outputs instead of 4096.
        dilated: pool5 keeps the size, and fc6 is dilated instead.
        nopool: convolutions of stride 2 (conv1_3, ...) in place of the poolings.
        dropout: with drop6 and drop7.
        freeze_layers: names of layers that do not learn.
        dilate_pool4: pool4 keeps the size, and conv5 is dilated by 2 instead.

    Raises:
        SpecError: the net has no `from_layer`.
    """
    dilation = 2 if dilate_pool4 and not nopool else 1
    bottom = from_layer
    for block, (depth, channels) in enumerate(_VGG16, 1):
        window: dict[str, Any] = {"pad": 1, "kernel_size": 3}
        if block == 5:
            window = {"pad": same_padding(3, dilation), "kernel_size": 3, "dilation": dilation}
        for index in range(1, depth + 1):
            bottom = _convolution(net, bottom, f"{block}_{index}", channels, **window)
        if block == 5 and not need_fc:
            break
        keeps_size = (block == 4 and dilate_pool4) or (block == 5 and dilated)
        if nopool:
            name = f"conv{block}_{depth + 1}"
            stride = 1 if block == 5 and dilated else 2
            net[name] = L.Convolution(net[bottom], num_output=channels, pad=1, kernel_size=3, stride=stride, **PLAIN)
        else:
            name = f"pool{block}"
            size = {"kernel_size": 3, "stride": 1, "pad": 1} if keeps_size else {"kernel_size": 2, "stride": 2}
            net[name] = L.Pooling(net[bottom], pool=P.Pooling.MAX, **size)
        bottom = name
    if need_fc and fully_conv:
        dilation *= _VGG_FC6_DILATION[dilated, reduced]
        kernel_size = 3 if reduced else 7
        window = {"pad": same_padding(kernel_size, dilation), "kernel_size": kernel_size, "dilation": dilation}
        _convolutions_6_7(net, bottom, window, reduced, dropout)
    elif need_fc:
        _inner_products_6_7(net, bottom, dropout)
    freeze(net, freeze_layers)
    return net


def ZFNetBody(
    net: NetSpec,
    from_layer: str,
    need_fc: bool = True,
    fully_conv: bool = False,
    reduced: bool = False,
    dilated: bool = False,
    dropout: bool = True,
    need_fc8: bool = False,
    freeze_layers: Iterable[str] = (),
) -> NetSpec:
    """Add ZF (Zeiler and Fergus, as SSD has it) up to ``conv5``, ``fc7`` or ``prob``; arguments as of `VGGNetBody`.

    Args:
        need_fc8: with fc8 and its Softmax.
    """
    bottom = from_layer
    for name, channels, size in (("1", 96, 7), ("2", 256, 5)):
        bottom = _convolution(net, bottom, name, channels, pad=size // 2, kernel_size=size, stride=2)
        net[f"norm{name}"] = L.LRN(
            net[bottom], local_size=3, alpha=0.00005, beta=0.75, norm_region=P.LRN.WITHIN_CHANNEL, engine=P.LRN.CAFFE
        )
        net[f"pool{name}"] = L.Pooling(net[f"norm{name}"], pool=P.Pooling.MAX, pad=1, kernel_size=3, stride=2)
        bottom = f"pool{name}"
    for name, channels in (("3", 384), ("4", 384), ("5", 256)):
        bottom = _convolution(net, bottom, name, channels, pad=1, kernel_size=3)
    if need_fc:
        stride = 1 if dilated else 2
        net.pool5 = L.Pooling(net[bottom], pool=P.Pooling.MAX, pad=1, kernel_size=3, stride=stride)
        if fully_conv:
            _convolutions_6_7(net, "pool5", _ZF_FC6[dilated, reduced], reduced, dropout)
        else:
            _inner_products_6_7(net, "pool5", dropout)
    if need_fc8:
        last = net[net.keys()[-1]]
        net.fc8 = (
            L.Convolution(last, num_output=1000, kernel_size=1, **PLAIN)
            if fully_conv
            else L.InnerProduct(last, num_output=1000)
        )
        net.prob = L.Softmax(net.fc8)
    freeze(net, freeze_layers)
    return net


def _convolution(net: NetSpec, bottom: str, number: str, channels: int, **window: Any) -> str:
    """Add ``conv<number>`` and ``relu<number>``; returns the name of the last."""
    net[f"conv{number}"] = L.Convolution(net[bottom], num_output=channels, **window, **PLAIN)
    net[f"relu{number}"] = L.ReLU(net[f"conv{number}"], in_place=True)
    return f"relu{number}"


def _convolutions_6_7(net: NetSpec, bottom: str, window: dict[str, Any], reduced: bool, dropout: bool) -> None:
    channels = 1024 if reduced else 4096
    net.fc6 = L.Convolution(net[bottom], num_output=channels, **window, **PLAIN)
    _activate(net, "6", dropout)
    net.fc7 = L.Convolution(net.relu6, num_output=channels, kernel_size=1, **PLAIN)
    _activate(net, "7", dropout)


def _inner_products_6_7(net: NetSpec, bottom: str, dropout: bool) -> None:
    net.fc6 = L.InnerProduct(net[bottom], num_output=4096)
    _activate(net, "6", dropout)
    net.fc7 = L.InnerProduct(net.relu6, num_output=4096)
    _activate(net, "7", dropout)


def _activate(net: NetSpec, number: str, dropout: bool) -> None:
    net[f"relu{number}"] = L.ReLU(net[f"fc{number}"], in_place=True)
    if dropout:
        net[f"drop{number}"] = L.Dropout(net[f"relu{number}"], dropout_ratio=0.5, in_place=True)
