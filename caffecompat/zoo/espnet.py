"""ESPNet: efficient spatial pyramids of dilated convolutions, an encoder and a light decoder.

Layer and blob names are those of the weights published with AMD/Xilinx's
segmentation tutorial, so that they load by name. Unlike that tutorial's
train_val.prototxt every convolution has a filler, so training from scratch works.
"""

from __future__ import annotations

from caffecompat.pycaffe.net_spec import NetSpec, Top
from caffecompat.zoo import tutorial
from caffecompat.zoo.network import Network, Recipe, Stage
from caffecompat.zoo.numbered import add, concat, conv, deconv, down_pool, norm

__all__ = ["NETWORKS"]

_SKIP = "ConvNd_20"  # scores of the quarter size, which only the full net has


def _pyramid(n: NetSpec, reduced: Top, first: int, each: int) -> Top:
    """Five parallel 3x3 convolutions (dilation 1, 2, 4, 8, 16); the dilated ones are summed up the hierarchy."""
    parts = [conv(n, reduced, first), conv(n, reduced, each, dilation=2)]
    for dilation in (4, 8, 16):
        branch = conv(n, reduced, each, dilation=dilation)
        parts.append(add(n, parts[-1], branch))
    return concat(n, *parts)


def _down(n: NetSpec, bottom: Top, first: int, each: int) -> Top:
    return norm(n, _pyramid(n, conv(n, bottom, each, stride=2), first, each))


def _block(n: NetSpec, bottom: Top, first: int, each: int) -> Top:
    return norm(n, add(n, bottom, _pyramid(n, conv(n, bottom, each, 1), first, each)))


def _encoder(n: NetSpec, data: Top, classes: int) -> tuple[Top, Top, Top]:
    """Down to an eighth; returns that blob, the half-size blob and the quarter-size scores."""
    half = norm(n, conv(n, data, 16, stride=2))
    blob = norm(n, concat(n, half, down_pool(n, data, "AVE")))
    first = blob = _down(n, blob, 16, 12)
    for _ in range(2):
        blob = _block(n, blob, 16, 12)
    quarter = down_pool(n, down_pool(n, data, "AVE"), "AVE")
    blob = norm(n, concat(n, blob, first, quarter))
    scores = conv(n, blob, classes, 1)
    first = blob = _down(n, blob, 28, 25)
    for _ in range(8):
        blob = _block(n, blob, 28, 25)
    return concat(n, first, blob), half, scores


def _encoder_head(n: NetSpec, data: Top, recipe: Recipe) -> tuple[Top]:
    """Stage one: the encoder and one deconvolution back to full size."""
    blob, _, _ = _encoder(n, data, recipe.classes)
    del n[_SKIP]  # the numbers after it are the same in both nets
    return (deconv(n, blob, recipe.classes, 8, bias=True, name="deconv_encoder6_0_0"),)


def _decoder(n: NetSpec, data: Top, recipe: Recipe) -> tuple[Top]:
    """Stage two: the encoder and the decoder with two skips."""
    classes = recipe.classes
    blob, half, scores = _encoder(n, data, classes)
    blob = norm(n, conv(n, norm(n, blob), classes, 1), activate=False)
    blob = norm(n, concat(n, scores, deconv(n, blob, classes, 2)))
    blob = norm(n, _pyramid(n, conv(n, blob, 4, 1), 4, 4))
    blob = norm(n, deconv(n, blob, classes, 2))
    blob = norm(n, conv(n, concat(n, blob, half), classes))
    return (deconv(n, blob, classes, 2),)


_NOTES = f"""\
{tutorial.NOTES}

`caffecompat demo` trains and scores both stages on a small generated data set in minutes.\
"""

_MEASURED = """\
Pixels of 524288 that differ from the tutorial's published pictures, same weights, same preprocessing
(`--scale 0.022 --subtract 0.284,0.325,0.287`):

| net | tutorial's deploy prototxt | this folder's |
|---|---|---|
| encoder | 0 | 0 |
| full | 0 | 0 |

`caffecompat demo` (8 classes, 400 drawn training pictures of 256x128, 50 to score; torch 2.13, two CPU cores,
3 min 22 s in all):

| | encoder, 400 iterations of 4 | full net, 1000 iterations of 4 | guessing |
|---|---|---|---|
| mIoU | 0.5596 | 0.6706 | 0.0695 |
| pixel accuracy | 0.8532 | 0.8955 | |
"""

NETWORKS = (
    Network(
        name="espnet",
        task="segmentation",
        title="ESPNet",
        about=(
            "ESPNet as AMD/Xilinx's segmentation tutorial trains it for Cityscapes: spatial pyramids of dilated "
            "convolutions down to an eighth, a light decoder with two skips. Layer and blob names are those of the "
            "tutorial's published weights, which load completely (one layer and its blob, nameless there, are called "
            "`Concat_16` here)."
        ),
        source=tutorial.SOURCE,
        pictures=tutorial.PICTURES,
        recipe=tutorial.RECIPE,
        divisor=8,
        solver=tutorial.solver,
        transforms=tutorial.transforms,
        stages=(
            Stage(
                _encoder_head, parameters=653_366, macs=5_978_349_568, suffix="_encoder",
                what="stage one: the encoder and one deconvolution back to full size",
            ),
            Stage(_decoder, parameters=361_411, macs=4_613_562_368, what="stage two: encoder and decoder"),
        ),
        notes=_NOTES,
        measured=_MEASURED,
    ),
)  # fmt: skip
