"""ENet without unpooling masks: bottlenecks, bilinear skips in the decoder.

Layer and blob names are those of the weights published with AMD/Xilinx's
segmentation tutorial, so that they load by name.
"""

from __future__ import annotations

from caffecompat.zoo.builder import NetBuilder

__all__ = ["decoder", "encoder_head"]


def _sum(b: NetBuilder, skip: str, blob: str) -> str:
    return b.relu(b.add(skip, blob))


def _bottleneck(
    b: NetBuilder, bottom: str, inner: int, outer: int, *, dilation: int = 1, asymmetric: bool = False
) -> str:
    blob = b.norm(b.conv(bottom, inner, 1))
    if asymmetric:
        blob = b.norm(b.conv(b.norm(b.conv(blob, inner, (5, 1))), inner, (1, 5)))
    else:
        blob = b.norm(b.conv(blob, inner, dilation=dilation))
    return _sum(b, bottom, b.norm(b.conv(blob, outer, 1)))


def _down(b: NetBuilder, bottom: str, inner: int, outer: int) -> str:
    skip = b.conv(b.pool(bottom, "MAX"), outer, 1)
    blob = b.norm(b.conv(bottom, inner, 2, stride=2))
    blob = b.norm(b.conv(blob, inner))
    return _sum(b, skip, b.norm(b.conv(blob, outer, 1)))


def _up(b: NetBuilder, bottom: str, inner: int, outer: int) -> str:
    skip = b.bilinear(b.norm(b.conv(bottom, outer, 1), relu=False), outer)
    blob = b.norm(b.conv(bottom, inner, 1))
    blob = b.norm(b.deconv(blob, inner, 2, bias=True))
    return _sum(b, skip, b.norm(b.conv(blob, outer, 1)))


def _encoder(b: NetBuilder, data: str) -> str:
    conv = b.conv(data, 13, stride=2)
    blob = b.norm(b.concat(conv, b.pool(data, "MAX")))
    blob = _down(b, blob, 16, 64)
    for _ in range(4):
        blob = _bottleneck(b, blob, 16, 64)
    blob = _down(b, blob, 32, 128)
    for _ in range(2):
        for first, second in ((2, 4), (8, 16)):
            blob = _bottleneck(b, blob, 32, 128)
            blob = _bottleneck(b, blob, 32, 128, dilation=first)
            blob = _bottleneck(b, blob, 32, 128, asymmetric=True)
            blob = _bottleneck(b, blob, 32, 128, dilation=second)
    return blob


def encoder_head(b: NetBuilder, data: str, classes: int) -> str:
    """Stage one: the encoder and one deconvolution back to full size. Returns the scores."""
    return b.deconv(_encoder(b, data), classes, 8, bias=True, name="deconv_encoder6_0_0")


def decoder(b: NetBuilder, data: str, classes: int) -> str:
    """Stage two: the encoder and the decoder. Returns the scores."""
    blob = _up(b, _encoder(b, data), 32, 64)
    for _ in range(2):
        blob = _bottleneck(b, blob, 16, 64)
    blob = _up(b, blob, 16, 16)
    blob = _bottleneck(b, blob, 4, 16)
    return b.deconv(blob, classes, 2, bias=True)
