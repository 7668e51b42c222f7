"""MobileNet V1 and V2, with the layer names under which their ImageNet weights were published for Caffe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from caffecompat.pycaffe.net_spec import NetSpec, Top
from caffecompat.pycaffe.net_spec import layers as L
from caffecompat.pycaffe.net_spec import params as P
from caffecompat.zoo import imagenet, torchvision
from caffecompat.zoo.imagenet import NOTES, TRAIN, VAL, transforms
from caffecompat.zoo.network import Fields, Network, Recipe, Stage

__all__ = ["NETWORKS"]

_MEAN, _SCALE = (103.94, 116.78, 123.68), 0.017  # of V1's published weights

# Channels and stride of each depthwise separable convolution of V1.
_SEPARABLE = {
    "2_1": (64, 1), "2_2": (128, 2), "3_1": (128, 1), "3_2": (256, 2), "4_1": (256, 1), "4_2": (512, 2),
    "5_1": (512, 1), "5_2": (512, 1), "5_3": (512, 1), "5_4": (512, 1), "5_5": (512, 1), "5_6": (1024, 2),
    "6": (1024, 1),
}  # fmt: skip
# Channels, stride and expansion of each inverted residual block of V2.
_BLOCKS = {
    "2_1": (16, 1, 1), "2_2": (24, 2, 6), "3_1": (24, 1, 6), "3_2": (32, 2, 6), "4_1": (32, 1, 6), "4_2": (32, 1, 6),
    "4_3": (64, 2, 6), "4_4": (64, 1, 6), "4_5": (64, 1, 6), "4_6": (64, 1, 6), "4_7": (96, 1, 6), "5_1": (96, 1, 6),
    "5_2": (96, 1, 6), "5_3": (160, 2, 6), "6_1": (160, 1, 6), "6_2": (160, 1, 6), "6_3": (320, 1, 6),
}  # fmt: skip


@dataclass(frozen=True)
class _Style:
    """What the two have in different ways.

    Attributes:
        activation: the layer.
        filler: of the convolutions.
        classifier_filler: of the last one.
        decay: whether depthwise convolutions, normalizations and biases decay as the other weights do.
    """

    activation: Callable[..., Top]
    filler: Fields
    classifier_filler: Fields
    decay: bool


_SLIM = _Style(L.ReLU, {"type": "gaussian", "std": 0.09}, {"type": "gaussian", "std": 0.09}, decay=False)
_TORCHVISION = _Style(
    L.ReLU6, {"type": "msra", "variance_norm": P.Filler.FAN_OUT}, {"type": "gaussian", "std": 0.01}, decay=True
)


def _conv(
    n: NetSpec,
    style: _Style,
    bottom: Top,
    name: str,
    outputs: int,
    kernel: int,
    *,
    stride: int = 1,
    group: int = 1,
    relu: str = "",
) -> Top:
    """A convolution with batch normalization, and an activation of the name `relu`."""
    n[name] = L.Convolution(
        bottom, param={"decay_mult": 1 if group == 1 or style.decay else 0}, num_output=outputs, kernel_size=kernel,
        pad=kernel // 2, stride=stride, group=group, bias_term=False, weight_filler=style.filler,
    )  # fmt: skip
    n[f"{name}/bn"] = L.BatchNorm(n[name], eps=1e-5)
    n[f"{name}/scale"] = L.Scale(
        n[f"{name}/bn"], param=[{"decay_mult": int(style.decay)}] * 2, bias_term=True, in_place=True
    )
    if not relu:
        return n[f"{name}/scale"]
    n[relu] = style.activation(n[f"{name}/scale"], in_place=True)
    return n[relu]


def _classifier(n: NetSpec, style: _Style, bottom: Top, recipe: Recipe) -> tuple[Top]:
    n.pool6 = L.Pooling(bottom, pool=P.Pooling.AVE, global_pooling=True)
    n.fc7 = L.Convolution(
        n.pool6, param=[{"decay_mult": 1}, {"decay_mult": int(style.decay)}], num_output=recipe.classes, kernel_size=1,
        weight_filler=style.classifier_filler, bias_filler={"type": "constant"},
    )  # fmt: skip
    return (n.fc7,)


def _v1(n: NetSpec, data: Top, recipe: Recipe) -> tuple[Top]:
    conv, channels = partial(_conv, n, _SLIM), 32
    blob = conv(data, "conv1", channels, 3, stride=2, relu="relu1")
    for name, (outputs, stride) in _SEPARABLE.items():
        blob = conv(blob, f"conv{name}/dw", channels, 3, stride=stride, group=channels, relu=f"relu{name}/dw")
        blob = conv(blob, f"conv{name}/sep", outputs, 1, relu=f"relu{name}/sep")
        channels = outputs
    return _classifier(n, _SLIM, blob, recipe)


def _v2(n: NetSpec, data: Top, recipe: Recipe) -> tuple[Top]:
    conv, channels = partial(_conv, n, _TORCHVISION), 32
    blob = conv(data, "conv1", channels, 3, stride=2, relu="relu1")
    for name, (outputs, stride, expansion) in _BLOCKS.items():
        inside, before, block = channels * expansion, blob, f"conv{name}"
        if expansion > 1:
            blob = conv(blob, f"{block}/expand", inside, 1, relu=f"relu{name}/expand")
        blob = conv(blob, f"{block}/dwise", inside, 3, stride=stride, group=inside, relu=f"relu{name}/dwise")
        blob = conv(blob, f"{block}/linear", outputs, 1)
        if (channels, stride) == (outputs, 1):
            n[f"block_{name}"] = blob = L.Eltwise(before, blob)
        channels = outputs
    blob = conv(blob, "conv6_4", 1280, 1, relu="relu6_4")
    return _classifier(n, _TORCHVISION, blob, recipe)


def _stepped(recipe: Recipe, steps: int, gamma: float, momentum: float) -> Fields:
    """The training has so many steps of one rate."""
    return {
        "lr_policy": "step",
        "stepsize": max(1, recipe.max_iter // steps),
        "gamma": gamma,
        "momentum": momentum,
        "weight_decay": 0.00004,
        "average_loss": 40,
        "test_initialization": False,
    }


_V1_NOTES = f"""\
The solver is that of the authors' example (TensorFlow's mobilenet_v1_train: 0.045 by batches of 64, times 0.94 every
2.5 passes over ImageNet, no momentum; depthwise convolutions and normalizations do not decay). That one ends when it is
stopped; here it is after 100 passes.

{NOTES}\
"""

_V2_NOTES = f"""\
The solver is torchvision's (0.045 by batches of 256, times 0.98 every pass over ImageNet, 300 passes): it reaches
71.9 % there. The authors train with RMSProp and momentum, which Caffe's RMSProp lacks. Torchvision's batches are those
of eight GPUs with 32 pictures each, here 8 batches of 32 one after the other (`iter_size`); on eight GPUs, `--gpu all`
with `--set iter_size=1` trains the same.

The first block has no 1x1 convolution before the depthwise one, as in the paper (3,504,872 parameters). The weights
published for Caffe have one of 32 channels there, `conv2_1/expand`, and ReLU: they do not fit.

{torchvision.CHANNEL_ORDER}\
"""

NETWORKS = (
    Network(
        name="mobilenet_v1",
        task="classification",
        title="MobileNet V1",
        about=(
            "MobileNet V1 for ImageNet, of full width: depthwise separable convolutions. Layer names are those of the "
            "weights published for Caffe (shicai/MobileNet-Caffe), which load by name."
        ),
        source="Howard et al., MobileNets, 2017",
        pictures=imagenet.PICTURES,
        recipe=Recipe(
            classes=1000, width=224, height=224, crop=224, mean=_MEAN, scale=_SCALE, train=TRAIN, val=VAL,
            batch_size=64, test_batch_size=50, max_iter=2_001_800, base_lr=0.045, test_iter=1000, snapshot=10_000,
            display=100,
        ),
        solver=lambda recipe: _stepped(recipe, 40, 0.94, 0),
        transforms=transforms,
        stages=(Stage(_v1, parameters=4_231_976, macs=568_740_352),),
        notes=_V1_NOTES,
    ),
    Network(
        name="mobilenet_v2",
        task="classification",
        title="MobileNet V2",
        about=(
            "MobileNet V2 for ImageNet, of full width: inverted residual blocks. Layer names are those of "
            "shicai/MobileNet-Caffe; the activation is ReLU6, as in the paper and in torchvision, whose weights fit "
            "(`weights convert`)."
        ),
        source="Sandler et al., MobileNetV2, 2018",
        pictures=imagenet.PICTURES,
        recipe=replace(torchvision.IMAGENET, max_iter=300 * torchvision.UPDATES_A_PASS, base_lr=0.045),
        solver=lambda recipe: _stepped(recipe, 300, 0.98, 0.9),
        transforms=torchvision.transforms,
        stages=(Stage(_v2, parameters=3_504_872, macs=300_774_272),),
        notes=_V2_NOTES,
    ),
)  # fmt: skip
