"""ResNet-101 and -152 of ``caffe.model_libs``."""

from __future__ import annotations

from typing import Any

from caffecompat.pycaffe.model_libs.blocks import ConvBNLayer, ResBody
from caffecompat.pycaffe.net_spec import NetSpec
from caffecompat.pycaffe.net_spec import layers as L
from caffecompat.pycaffe.net_spec import params as P

__all__ = ["ResNet101Body", "ResNet152Body"]


def ResNet101Body(
    net: NetSpec, from_layer: str, use_pool5: bool = True, use_dilation_conv5: bool = False, **bn_param: Any
) -> NetSpec:
    """Add ResNet-101 up to ``res5c`` (and ``pool5``).

    Args:
        use_pool5: with the global average pooling.
        use_dilation_conv5: the last stage keeps its size and is dilated by 2 instead.
        bn_param: for `ConvBNLayer`.
    """
    return _resnet(net, from_layer, (4, 23), use_pool5, use_dilation_conv5, bn_param)


def ResNet152Body(
    net: NetSpec, from_layer: str, use_pool5: bool = True, use_dilation_conv5: bool = False, **bn_param: Any
) -> NetSpec:
    """Add ResNet-152; as `ResNet101Body`."""
    return _resnet(net, from_layer, (8, 36), use_pool5, use_dilation_conv5, bn_param)


def _resnet(
    net: NetSpec,
    bottom: str,
    depths: tuple[int, int],
    pool5: bool,
    dilated: bool,
    bn_param: dict[str, Any],
) -> NetSpec:
    """`depths` are the numbers of blocks of stages 3 and 4, whose blocks after the first are numbered (3b1, 3b2)."""
    ConvBNLayer(
        net, bottom, "conv1", use_bn=True, use_relu=True, num_output=64, kernel_size=7, pad=3, stride=2,
        bn_prefix="bn_", bn_postfix="", scale_prefix="scale_", scale_postfix="", **bn_param,
    )  # fmt: skip
    net.pool1 = L.Pooling(net.conv1, pool=P.Pooling.MAX, kernel_size=3, stride=2)
    third, fourth = (
        [f"{stage}a", *(f"{stage}b{i}" for i in range(1, depth))] for stage, depth in zip((3, 4), depths, strict=True)
    )
    stages = (["2a", "2b", "2c"], third, fourth, ["5a", "5b", "5c"])
    bottom = "pool1"
    for number, blocks in enumerate(stages):
        channels = 64 << number
        keeps_size = number == 0 or (number == 3 and dilated)
        for block in blocks:
            first = block == blocks[0]
            ResBody(
                net, bottom, block, out2a=channels, out2b=channels, out2c=4 * channels,
                stride=2 if first and not keeps_size else 1, use_branch1=first,
                dilation=2 if number == 3 and dilated else 1, **bn_param,
            )  # fmt: skip
            bottom = f"res{block}"
    if pool5:
        net.pool5 = L.Pooling(net.res5c, pool=P.Pooling.AVE, global_pooling=True)
    return net
