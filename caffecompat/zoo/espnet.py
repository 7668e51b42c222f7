"""ESPNet: efficient spatial pyramids of dilated convolutions, an encoder and a light decoder.

Layer and blob names are those of the weights published with AMD/Xilinx's
segmentation tutorial, so that they load by name. Unlike that tutorial's
train_val.prototxt every convolution has a filler, so training from scratch works.
"""

from __future__ import annotations

from caffecompat.zoo.builder import NetBuilder

__all__ = ["decoder", "encoder_head"]


def _pyramid(b: NetBuilder, reduced: str, first: int, each: int) -> str:
    """Five parallel 3x3 convolutions (dilation 1, 2, 4, 8, 16); the dilated ones are summed up the hierarchy."""
    parts = [b.conv(reduced, first), b.conv(reduced, each, dilation=2)]
    for dilation in (4, 8, 16):
        branch = b.conv(reduced, each, dilation=dilation)
        parts.append(b.add(parts[-1], branch))
    return b.concat(*parts)


def _down(b: NetBuilder, bottom: str, first: int, each: int) -> str:
    return b.norm(_pyramid(b, b.conv(bottom, each, stride=2), first, each))


def _block(b: NetBuilder, bottom: str, first: int, each: int) -> str:
    return b.norm(b.add(bottom, _pyramid(b, b.conv(bottom, each, 1), first, each)))


def _encoder(b: NetBuilder, data: str, classes: int, *, skip: bool) -> tuple[str, str, str]:
    """Down to an eighth; returns that blob, the half-size blob and, with `skip`, the quarter-size scores."""
    half = b.norm(b.conv(data, 16, stride=2))
    blob = b.norm(b.concat(half, b.pool(data, "AVE")))
    first = blob = _down(b, blob, 16, 12)
    for _ in range(2):
        blob = _block(b, blob, 16, 12)
    quarter = b.pool(b.pool(data, "AVE"), "AVE")
    blob = b.norm(b.concat(blob, first, quarter))
    # The encoder alone has no ConvNd_20, but the numbers after it are the same in both nets.
    scores = b.conv(blob, classes, 1) if skip else b.number("ConvNd")
    first = blob = _down(b, blob, 28, 25)
    for _ in range(8):
        blob = _block(b, blob, 28, 25)
    return b.concat(first, blob), half, scores


def encoder_head(b: NetBuilder, data: str, classes: int) -> str:
    """Stage one: the encoder and one deconvolution back to full size. Returns the scores."""
    blob, _, _ = _encoder(b, data, classes, skip=False)
    return b.deconv(blob, classes, 8, bias=True, name="deconv_encoder6_0_0")


def decoder(b: NetBuilder, data: str, classes: int) -> str:
    """Stage two: the encoder and the decoder with two skips. Returns the scores."""
    blob, half, scores = _encoder(b, data, classes, skip=True)
    blob = b.norm(b.conv(b.norm(blob), classes, 1), relu=False)
    blob = b.norm(b.concat(scores, b.deconv(blob, classes, 2)))
    blob = b.norm(_pyramid(b, b.conv(blob, 4, 1), 4, 4))
    blob = b.norm(b.deconv(blob, classes, 2))
    blob = b.norm(b.conv(b.concat(blob, half), classes))
    return b.deconv(blob, classes, 2)
