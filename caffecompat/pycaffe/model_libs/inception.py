"""Inception v3 of ``caffe.model_libs``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from caffecompat.pycaffe.model_libs.blocks import ConvBNLayer, InceptionTower
from caffecompat.pycaffe.net_spec import NetSpec, Top
from caffecompat.pycaffe.net_spec import layers as L
from caffecompat.pycaffe.net_spec import params as P

__all__ = ["InceptionV3Body"]

Tower = tuple[str, Sequence[Mapping[str, Any]]]


def InceptionV3Body(net: NetSpec, from_layer: str, output_pred: bool = False, **bn_param: Any) -> NetSpec:
    """Add Inception v3 up to ``mixed_10/join``; BatchNorm is followed by Bias, as its scale is fixed to 1.

    Args:
        output_pred: with pooling, the 1008 classes and their Softmax.
        bn_param: for `ConvBNLayer`.
    """
    bottom = _stem(net, from_layer, bn_param)
    for number in range(3):
        name = "mixed" if number == 0 else f"mixed_{number}"
        bottom = _mixed(net, bottom, name, _with_5x5(32 if number == 0 else 64), bn_param)
    bottom = _mixed(net, bottom, "mixed_3", _first_reduction(), bn_param)
    for number, channels in ((4, 128), (5, 160), (6, 160), (7, 192)):
        bottom = _mixed(net, bottom, f"mixed_{number}", _with_7x7(channels), bn_param)
    bottom = _mixed(net, bottom, "mixed_8", _second_reduction(), bn_param)
    for name, pool in (("mixed_9", P.Pooling.AVE), ("mixed_10", P.Pooling.MAX)):
        bottom = _widened(net, bottom, name, pool, bn_param)
    if output_pred:
        net.pool_3 = L.Pooling(net[bottom], pool=P.Pooling.AVE, kernel_size=8, pad=0, stride=1)
        net.softmax = L.InnerProduct(net.pool_3, num_output=1008)
        net.softmax_prob = L.Softmax(net.softmax)
    return net


def _conv(number: int, channels: int, kernel_size: Any = 1, stride: int = 1, keeps_size: bool = True) -> dict[str, Any]:
    """Arguments of one convolution of a tower; [1, 7] and the like are height and width."""
    name = "conv" if number == 0 else f"conv_{number}"
    if isinstance(kernel_size, list):
        pad: Any = [size // 2 for size in kernel_size]
        return {"name": name, "num_output": channels, "kernel_size": kernel_size, "pad": pad, "stride": [1, 1]}
    pad = kernel_size // 2 if keeps_size else 0
    return {"name": name, "num_output": channels, "kernel_size": kernel_size, "pad": pad, "stride": stride}


def _pool(kind: int, reduces: bool = False) -> dict[str, Any]:
    pad, stride = (0, 2) if reduces else (1, 1)
    return {"name": "pool", "pool": kind, "kernel_size": 3, "pad": pad, "stride": stride}


def _stem(net: NetSpec, bottom: str, bn_param: dict[str, Any]) -> str:
    for name, channels, kernel_size, pad, stride in (
        ("conv", 32, 3, 0, 2), ("conv_1", 32, 3, 0, 1), ("conv_2", 64, 3, 1, 1), ("pool", 0, 3, 0, 2),
        ("conv_3", 80, 1, 0, 1), ("conv_4", 192, 3, 0, 1), ("pool_1", 0, 3, 0, 2),
    ):  # fmt: skip
        if channels:
            ConvBNLayer(
                net, bottom, name, use_bn=True, use_relu=True, num_output=channels, kernel_size=kernel_size, pad=pad,
                stride=stride, use_scale=False, **bn_param,
            )  # fmt: skip
        else:
            net[name] = L.Pooling(net[bottom], pool=P.Pooling.MAX, kernel_size=kernel_size, stride=stride, pad=pad)
        bottom = name
    return bottom


def _mixed(net: NetSpec, bottom: str, name: str, towers: Sequence[Tower], bn_param: dict[str, Any]) -> str:
    """Towers side by side and their Concat; returns its name. A tower's name follows the block's."""
    tops = [InceptionTower(net, bottom, f"{name}{tower}", layers, **bn_param) for tower, layers in towers]
    return _join(net, f"{name}/join", tops)


def _join(net: NetSpec, name: str, tops: Sequence[Top]) -> str:
    net[name] = L.Concat(*tops, axis=1)
    return name


def _with_5x5(pooled_channels: int) -> list[Tower]:
    return [
        ("", [_conv(0, 64)]),
        ("/tower", [_conv(0, 48), _conv(1, 64, 5)]),
        ("/tower_1", [_conv(0, 64), _conv(1, 96, 3), _conv(2, 96, 3)]),
        ("/tower_2", [_pool(P.Pooling.AVE), _conv(0, pooled_channels)]),
    ]


def _first_reduction() -> list[Tower]:
    return [
        ("", [_conv(0, 384, 3, stride=2, keeps_size=False)]),
        ("/tower", [_conv(0, 64), _conv(1, 96, 3), _conv(2, 96, 3, stride=2, keeps_size=False)]),
        ("", [_pool(P.Pooling.MAX, reduces=True)]),
    ]


def _with_7x7(channels: int) -> list[Tower]:
    wide, tall = [1, 7], [7, 1]
    twice = [_conv(1, channels, tall), _conv(2, channels, wide), _conv(3, channels, tall), _conv(4, 192, wide)]
    return [
        ("", [_conv(0, 192)]),
        ("/tower", [_conv(0, channels), _conv(1, channels, wide), _conv(2, 192, tall)]),
        ("/tower_1", [_conv(0, channels), *twice]),
        ("/tower_2", [_pool(P.Pooling.AVE), _conv(0, 192)]),
    ]


def _second_reduction() -> list[Tower]:
    factored = [_conv(1, 192, [1, 7]), _conv(2, 192, [7, 1]), _conv(3, 192, 3, stride=2, keeps_size=False)]
    return [
        ("/tower", [_conv(0, 192), _conv(1, 320, 3, stride=2, keeps_size=False)]),
        ("/tower_1", [_conv(0, 192), *factored]),
        ("", [_pool(P.Pooling.MAX, reduces=True)]),
    ]


def _widened(net: NetSpec, bottom: str, name: str, pool: int, bn_param: dict[str, Any]) -> str:
    """A block two of whose towers end in a 1x3 and a 3x1 convolution side by side."""

    def add(tower: str, layers: Sequence[Mapping[str, Any]], below: str = bottom) -> Top:
        return InceptionTower(net, below, f"{name}{tower}", layers, **bn_param)

    tops = [add("", [_conv(0, 320)])]
    for tower, layers in (("/tower", [_conv(0, 384)]), ("/tower_1", [_conv(0, 448), _conv(1, 384, 3)])):
        add(tower, layers)
        below = f"{name}{tower}/{layers[-1]['name']}"
        split = [add(f"{tower}/mixed", [_conv(index, 384, kernel)], below)
                 for index, kernel in enumerate(([1, 3], [3, 1]))]  # fmt: skip
        tops.append(net[_join(net, f"{name}{tower}/mixed", split)])
    tops.append(add("/tower_2", [_pool(pool), _conv(0, 192)]))
    return _join(net, f"{name}/join", tops)
