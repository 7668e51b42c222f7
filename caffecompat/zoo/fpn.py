"""A feature pyramid on GoogLeNet, with the layer and blob names of AMD/Xilinx's segmentation tutorial."""

from __future__ import annotations

from dataclasses import replace

from caffecompat.pycaffe.net_spec import NetSpec, Top
from caffecompat.pycaffe.net_spec import layers as L
from caffecompat.zoo import inception, tutorial
from caffecompat.zoo.network import Fields, Network, Recipe, Stage
from caffecompat.zoo.numbered import XILINX_NORM

__all__ = ["NETWORKS"]

_CHANNELS = 32  # of every level of the pyramid
_PYRAMID: Fields = {"weight_filler": {"type": "gaussian", "std": 0.01}, "bias_filler": {"type": "constant"}}


def _conv(n: NetSpec, bottom: Top, name: str, outputs: int, kernel: int, stride: int = 1) -> Top:
    """A convolution with a normalization and a ReLU; the latter two share the blob of the convolution's name."""
    n[f"{name}_raw"] = L.Convolution(
        bottom, name=name, num_output=outputs, kernel_size=kernel, stride=stride, pad=kernel // 2,
        weight_filler={"type": "msra"}, bias_filler={"type": "constant", "value": 0.2},
    )  # fmt: skip
    n[name] = L.BatchNorm(n[f"{name}_raw"], name=f"{name}_BatchNorm", **XILINX_NORM)
    n[inception.relu_name(name)] = L.ReLU(n[name], in_place=True)
    return n[inception.relu_name(name)]


def _lateral(n: NetSpec, name: str, bottom: Top) -> Top:
    n[name] = L.Convolution(bottom, num_output=_CHANNELS, kernel_size=1, **_PYRAMID)
    return n[name]


def _body(n: NetSpec, data: Top, recipe: Recipe) -> tuple[Top]:
    blob = inception.add_body(n, data, _conv, local_norm=False)
    blob = _lateral(n, "p5", blob)
    levels = ((4, "4f", "inception_4e/output"), (3, "3d", "inception_3b/output"), (2, "2c", "conv2/relu_3x3"))
    for level, lateral, source in levels:
        lower = f"upsample_p{level + 1}"
        beside = _lateral(n, f"latlayer_{lateral}", n[source])
        n[lower] = L.Deconvolution(
            blob,
            convolution_param={
                "num_output": _CHANNELS, "bias_term": False, "kernel_size": 4, "stride": 2, "pad": 1,
                "weight_filler": {"type": "msra"},
            },
        )  # fmt: skip
        n[f"add_p{level}"] = blob = L.Eltwise(n[lower], beside)
        if level > 2:
            n[f"p{level}"] = blob = L.Convolution(
                blob, name=f"toplayer_p{level}", num_output=_CHANNELS, kernel_size=3, pad=1, **_PYRAMID
            )
    n.pred = L.Deconvolution(
        blob,
        name="toplayer_p2",
        convolution_param={"num_output": recipe.classes, "kernel_size": 4, "stride": 4, **_PYRAMID},
    )
    return (n.pred,)


_NOTES = """\
The solver is the tutorial's (Adam, 0.0005, 17 x 10 pictures an iteration), but the poly policy has a power of 0.9: the
tutorial gives none, which keeps the rate constant. Its best snapshot was that of 10,000 iterations: mIoU 0.512.\
"""

NETWORKS = (
    Network(
        name="fpn",
        task="segmentation",
        title="FPN",
        about=(
            "A feature pyramid on GoogLeNet with batch normalization, as AMD/Xilinx's segmentation tutorial trains it "
            "for Cityscapes. Layer and blob names are the tutorial's. Pictures must be of sizes that 32 divides."
        ),
        source=tutorial.SOURCE,
        pictures=tutorial.PICTURES,
        recipe=replace(tutorial.RECIPE, batch_size=10, iter_size=17, max_iter=18000),
        divisor=32,
        solver=tutorial.solver,
        transforms=tutorial.transforms,
        stages=(Stage(_body, parameters=6_146_531, macs=17_514_364_928),),
        notes=_NOTES,
    ),
)
