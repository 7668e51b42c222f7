"""ENet without unpooling masks: bottlenecks, bilinear skips in the decoder.

Layer and blob names are those of the weights published with AMD/Xilinx's
segmentation tutorial, so that they load by name.
"""

from __future__ import annotations

from caffecompat.pycaffe.net_spec import NetSpec, Top
from caffecompat.zoo import tutorial
from caffecompat.zoo.network import Network, Recipe, Stage
from caffecompat.zoo.numbered import add, concat, conv, deconv, down_pool, norm, relu, upsample_bilinear

__all__ = ["NETWORKS"]


def _sum(n: NetSpec, skip: Top, blob: Top) -> Top:
    return relu(n, add(n, skip, blob))


def _bottleneck(n: NetSpec, bottom: Top, inner: int, outer: int, *, dilation: int = 1, asymmetric: bool = False) -> Top:
    blob = norm(n, conv(n, bottom, inner, 1))
    if asymmetric:
        blob = norm(n, conv(n, norm(n, conv(n, blob, inner, (5, 1))), inner, (1, 5)))
    else:
        blob = norm(n, conv(n, blob, inner, dilation=dilation))
    return _sum(n, bottom, norm(n, conv(n, blob, outer, 1)))


def _down(n: NetSpec, bottom: Top, inner: int, outer: int) -> Top:
    skip = conv(n, down_pool(n, bottom, "MAX"), outer, 1)
    blob = norm(n, conv(n, bottom, inner, 2, stride=2))
    blob = norm(n, conv(n, blob, inner))
    return _sum(n, skip, norm(n, conv(n, blob, outer, 1)))


def _up(n: NetSpec, bottom: Top, inner: int, outer: int) -> Top:
    skip = upsample_bilinear(n, norm(n, conv(n, bottom, outer, 1), activate=False), outer)
    blob = norm(n, conv(n, bottom, inner, 1))
    blob = norm(n, deconv(n, blob, inner, 2, bias=True))
    return _sum(n, skip, norm(n, conv(n, blob, outer, 1)))


def _encoder(n: NetSpec, data: Top) -> Top:
    half = conv(n, data, 13, stride=2)
    blob = norm(n, concat(n, half, down_pool(n, data, "MAX")))
    blob = _down(n, blob, 16, 64)
    for _ in range(4):
        blob = _bottleneck(n, blob, 16, 64)
    blob = _down(n, blob, 32, 128)
    for _ in range(2):
        for first, second in ((2, 4), (8, 16)):
            blob = _bottleneck(n, blob, 32, 128)
            blob = _bottleneck(n, blob, 32, 128, dilation=first)
            blob = _bottleneck(n, blob, 32, 128, asymmetric=True)
            blob = _bottleneck(n, blob, 32, 128, dilation=second)
    return blob


def _encoder_head(n: NetSpec, data: Top, recipe: Recipe) -> tuple[Top]:
    """Stage one: the encoder and one deconvolution back to full size."""
    return (deconv(n, _encoder(n, data), recipe.classes, 8, bias=True, name="deconv_encoder6_0_0"),)


def _decoder(n: NetSpec, data: Top, recipe: Recipe) -> tuple[Top]:
    """Stage two: the encoder and the decoder."""
    blob = _up(n, _encoder(n, data), 32, 64)
    for _ in range(2):
        blob = _bottleneck(n, blob, 16, 64)
    blob = _up(n, blob, 16, 16)
    blob = _bottleneck(n, blob, 4, 16)
    return (deconv(n, blob, recipe.classes, 2, bias=True),)


_MEASURED = """\
`deploy.prototxt` normalizes by the running statistics of training. The tutorial's own deploy prototxts say
`use_global_stats: false`, with which every picture is normalized by itself; the published pictures were made so.

Pixels of 524288 that differ from the tutorial's published pictures, same weights, same preprocessing
(`--scale 0.022 --subtract 0.284,0.325,0.287`):

| net | tutorial's deploy prototxt (each picture's own statistics) | this folder's (running statistics) |
|---|---|---|
| encoder | 0 | 118598 |
| full | 0 | 36270 |
"""

NETWORKS = (
    Network(
        name="enet",
        task="segmentation",
        title="ENet",
        about=(
            "ENet without unpooling masks, as AMD/Xilinx's segmentation tutorial trains it for Cityscapes: bottlenecks "
            "with dilated and asymmetric convolutions down to an eighth, a light decoder with bilinear skips. Layer "
            "and blob names are those of the tutorial's published weights, which load completely."
        ),
        source=tutorial.SOURCE,
        pictures=tutorial.PICTURES,
        recipe=tutorial.RECIPE,
        divisor=8,
        solver=tutorial.solver,
        transforms=tutorial.transforms,
        stages=(
            Stage(
                _encoder_head, parameters=498_898, macs=4_626_186_240, suffix="_encoder",
                what="stage one: the encoder and one deconvolution back to full size",
            ),
            Stage(_decoder, parameters=376_194, macs=4_183_687_168, what="stage two: encoder and decoder"),
        ),
        notes=tutorial.NOTES,
        measured=_MEASURED,
    ),
)  # fmt: skip
