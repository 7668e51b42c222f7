"""U-Net in two widths, with the layer and blob names of AMD/Xilinx's segmentation tutorial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from caffecompat.pycaffe.net_spec import NetSpec, Top
from caffecompat.pycaffe.net_spec import layers as L
from caffecompat.pycaffe.net_spec import params as P
from caffecompat.zoo import tutorial
from caffecompat.zoo.network import Body, Fields, Network, Recipe, Stage
from caffecompat.zoo.numbered import XILINX_NORM

__all__ = ["NETWORKS"]

_LEARNED: Fields = {
    "param": [{"lr_mult": 1, "decay_mult": 1}, {"lr_mult": 2, "decay_mult": 0}],
    "weight_filler": {"type": "msra"},
}
# Names of the normalizations by level; the last one is of the first convolution of its level.
_NORMS = ("BatchNorm_d0c", "BatchNorm_d1c", "BatchNorm_d2c", "BatchNorm_1", "BatchNorm_2")


def _conv(n: NetSpec, name: str, top: str, bottom: Top, outputs: int, kernel: int = 3) -> Top:
    n[top] = L.Convolution(bottom, name=name, num_output=outputs, kernel_size=kernel, pad=kernel // 2, **_LEARNED)
    return n[top]


def _activated(n: NetSpec, top: str, norm: str = "") -> Top:
    """The blob under a ReLU, by the normalization of that name or without one, as a blob of its own."""
    blob = n[top]
    if norm:
        n[norm] = blob = L.BatchNorm(blob, **XILINX_NORM)
    n[f"relu_{top}"] = L.ReLU(blob)
    return n[f"relu_{top}"]


def _level_down(n: NetSpec, level: int, bottom: Top, outputs: int) -> Top:
    """Two convolutions; what the way up takes is the second one's output as it is."""
    b, c = f"d{level}b", f"d{level}c"
    deepest = level == len(_NORMS) - 1
    _conv(n, f"conv_d{level}a-b", b, bottom, outputs)
    _conv(n, f"conv_d{level}b-c", c, _activated(n, b, _NORMS[level] if deepest else ""), outputs)
    return _activated(n, c, "" if deepest else _NORMS[level])


def _level_up(n: NetSpec, level: int, bottom: Top, below: str, upsampled: int, outputs: int) -> Top:
    """A learned upsampling, the blob of the way down beside it, two convolutions."""
    a, b, c, d = (f"u{level}{part}" for part in "abcd")
    last = level == 0
    n[a] = L.Deconvolution(
        bottom,
        name=f"upconv_{below}_{a}" + ("_NEW" if last else ""),
        param=_LEARNED["param"],
        convolution_param={
            "num_output": upsampled, "kernel_size": 2, "stride": 2, "weight_filler": _LEARNED["weight_filler"]
        },
    )  # fmt: skip
    n[f"relu_{a}"] = L.ReLU(n[a], in_place=True)
    n[b] = L.Concat(n[f"relu_{a}"], n[f"d{level}c"], name=f"concat_d{level}cc_{a}-b")
    blob = n[b]
    for source, target in ((b, c), (c, d)):
        _conv(n, f"conv_{source}-{target[-1]}" + ("_New" if last else ""), target, blob, outputs)
        n[f"relu_{target}"] = blob = L.ReLU(n[target], in_place=True)
    return blob


def _body(widths: Sequence[int], upsampled: Sequence[int]) -> Body:
    """U-Net of these channels by level, of which the way up gets `upsampled` from the level below."""

    def body(n: NetSpec, data: Top, recipe: Recipe) -> tuple[Top]:
        blob = _level_down(n, 0, data, widths[0])
        for level in range(1, len(widths)):
            n[f"d{level}a"] = L.Pooling(
                blob, name=f"pool_d{level - 1}c-{level}a", pool=P.Pooling.MAX, kernel_size=2, stride=2
            )
            blob = _level_down(n, level, n[f"d{level}a"], widths[level])
        for level in reversed(range(len(widths) - 1)):
            below = "d4c" if level == len(widths) - 2 else f"u{level + 1}d"
            blob = _level_up(n, level, blob, below, upsampled[level], widths[level])
        return (_conv(n, "conv_u0d-score_New", "conv_u0d-score_New", blob, recipe.classes, 1),)

    return body


_NOTES = """\
The solver is the tutorial's (Adam, 0.0005, {batches} pictures an iteration), but the poly policy has a power of 0.9:
the tutorial gives none, which keeps the rate constant. {best}\
"""

NETWORKS = (
    Network(
        name="unet_full",
        task="segmentation",
        title="U-Net, full",
        about=(
            "U-Net as AMD/Xilinx's segmentation tutorial trains it for Cityscapes: 64 to 1024 channels on five levels. "
            "Layer and blob names are the tutorial's. Pictures must be of sizes that 16 divides."
        ),
        source=tutorial.SOURCE,
        pictures=tutorial.PICTURES,
        recipe=replace(tutorial.RECIPE, batch_size=2, iter_size=50, max_iter=30000),
        divisor=16,
        solver=tutorial.solver,
        transforms=tutorial.transforms,
        stages=(
            Stage(
                _body((64, 128, 256, 512, 1024), (64, 128, 512, 512)), parameters=32_151_251, macs=409_565_396_992
            ),
        ),
        notes=_NOTES.format(batches="50 x 2", best="Its best snapshot was that of 16,000 iterations: mIoU 0.488."),
    ),
    Network(
        name="unet_lite",
        task="segmentation",
        title="U-Net, lite",
        about=(
            "U-Net of half the channels as AMD/Xilinx's segmentation tutorial trains it for Cityscapes: 32 to 512 on "
            "five levels. Layer and blob names are the tutorial's. Pictures must be of sizes that 16 divides."
        ),
        source=tutorial.SOURCE,
        pictures=tutorial.PICTURES,
        recipe=replace(tutorial.RECIPE, batch_size=4, iter_size=43, max_iter=24000),
        divisor=16,
        solver=tutorial.solver,
        transforms=tutorial.transforms,
        stages=(Stage(_body((32, 64, 128, 256, 512), (32, 64, 128, 256)), parameters=7_762_675, macs=96_871_645_184),),
        notes=_NOTES.format(batches="43 x 4", best="Its best snapshot was that of 13,000 iterations: mIoU 0.513."),
    ),
)  # fmt: skip
