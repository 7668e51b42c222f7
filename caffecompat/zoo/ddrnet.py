"""DDRNet-23 and its slim form: two branches of an eighth and of ever smaller sizes that exchange what they see.

Layers are called as the modules of the authors' code, with underscores. Unlike there the two convolutions of the stem
have no bias, which the normalizations after them would take away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from caffecompat.pycaffe.net_spec import NetSpec, Top
from caffecompat.pycaffe.net_spec import layers as L
from caffecompat.pycaffe.net_spec import params as P
from caffecompat.zoo import imagenet, torchvision, tutorial
from caffecompat.zoo.blocks import (
    add_basic_block,
    add_bottleneck,
    add_conv,
    add_conv_norm,
    add_norm,
    add_relu,
    add_sum,
)
from caffecompat.zoo.network import Fields, Network, Recipe, Source, Stage

__all__ = ["NETWORKS"]


@dataclass(frozen=True)
class _Width:
    """Channels: of the stem, of the classifier's last convolution, of the pyramid's branches, of the heads."""

    planes: int
    last: int
    pyramid: int
    head: int


_FULL = _Width(planes=64, last=2048, pyramid=128, head=128)
_SLIM = _Width(planes=32, last=1024, pyramid=128, head=64)


def _activated(n: NetSpec, bottom: Top, name: str) -> Top:
    """The ReLU of a sum that others read as it is."""
    return add_relu(n, f"{name}_relu", bottom, in_place=False)


def _layer(n: NetSpec, name: str, bottom: Top, channels: int, *, stride: int = 1) -> Top:
    """Two basic blocks, the last one without its ReLU. Layers that halve the size project their shortcut."""
    blob = add_basic_block(n, f"{name}_0", bottom, channels, stride=stride, project=stride > 1)
    return add_basic_block(n, f"{name}_1", blob, channels, relu=False)


def _down(n: NetSpec, name: str, bottom: Top, *channels: int) -> Top:
    """Convolutions that halve the size, with a ReLU between two."""
    blob = bottom
    for at, outputs in enumerate(channels):
        last = at == len(channels) - 1
        blob = add_conv_norm(n, f"{name}_{3 * at}", f"{name}_{3 * at + 1}", blob, outputs, stride=2, relu=not last)
    return blob


def _exchange(n: NetSpec, level: int, low: Top, high: Top, lows: Sequence[int], highs: int) -> tuple[Top, Top]:
    """Give each branch what the other one has; returns the new sums, low and high, neither with a ReLU.

    Args:
        lows: channels of the convolutions that bring the high branch down; the last ones are the low branch's.
        highs: channels of the high branch.
    """
    name = f"compression{level}"
    lent = add_conv_norm(n, f"{name}_0", f"{name}_1", _activated(n, low, f"layer{level}"), highs, 1, relu=False)
    n[f"{name}_up"] = L.Interp(lent, high)
    down = _down(n, f"down{level}", _activated(n, high, f"layer{level}_"), *lows)
    return (
        add_sum(n, f"low{level}", low, down, relu=False),
        add_sum(n, f"high{level}", high, n[f"{name}_up"], relu=False),
    )


def _branches(n: NetSpec, data: Top, planes: int) -> tuple[Top, Top]:
    """Both branches up to the second exchange, without ReLU: a 32nd of the size and an eighth."""
    blob = add_conv_norm(n, "conv1_0", "conv1_1", data, planes, stride=2)
    blob = add_conv_norm(n, "conv1_3", "conv1_4", blob, planes, stride=2)
    blob = _layer(n, "layer1", blob, planes)
    blob = _layer(n, "layer2", add_relu(n, "layer1_relu", blob), 2 * planes, stride=2)
    blob = add_relu(n, "layer2_relu", blob)
    low = _layer(n, "layer3", blob, 4 * planes, stride=2)
    high = _layer(n, "layer3_", blob, 2 * planes)
    low, high = _exchange(n, 3, low, high, (4 * planes,), 2 * planes)
    low = _layer(n, "layer4", add_relu(n, "low3_relu", low), 8 * planes, stride=2)
    # What training's second head looks at is the sum as it is.
    high = _layer(n, "layer4_", _activated(n, high, "high3"), 2 * planes)
    return _exchange(n, 4, low, high, (4 * planes, 8 * planes), 2 * planes)


def _classifier(n: NetSpec, data: Top, recipe: Recipe, width: _Width) -> tuple[Top]:
    planes = width.planes
    low, high = _branches(n, data, planes)
    high = add_bottleneck(n, "layer5__0", add_relu(n, "high4_relu", high), 2 * planes, expansion=2, project=True)
    low = add_bottleneck(n, "layer5_0", add_relu(n, "low4_relu", low), 8 * planes, expansion=2, project=True)
    blob = add_sum(n, "low5", low, _down(n, "down5", high, 8 * planes, 16 * planes))
    blob = add_conv_norm(n, "last_layer_0", "last_layer_1", blob, width.last, 1)
    n.last_layer_3 = L.Pooling(blob, pool=P.Pooling.AVE, global_pooling=True)
    n.linear = L.InnerProduct(n.last_layer_3, num_output=recipe.classes, weight_filler={"type": "xavier"})
    return (n.linear,)


def _norm_conv(n: NetSpec, name: str, bottom: Top, outputs: int, kernel: int = 1, *, first: int = 0) -> Top:
    """Normalization, ReLU, convolution: the modules `first` and `first` + 2 of a sequence."""
    blob = add_norm(n, f"{name}_{first}", bottom, in_place=False)
    return add_conv(n, f"{name}_{first + 2}", blob, outputs, kernel)


def _pyramid(n: NetSpec, bottom: Top, channels: int, outputs: int) -> Top:
    """Deep aggregation pyramid pooling (DAPPM): means over ever larger parts, each added to what the last one saw."""
    parts = [_norm_conv(n, "spp_scale0", bottom, channels)]
    for number in range(1, 5):
        scale, process = f"spp_scale{number}", f"spp_process{number}"
        window: Fields = {"global_pooling": True}
        if number < 4:
            stride = 1 << number
            window = {"kernel_size": 2 * stride + 1, "stride": stride, "pad": stride, "round_mode": P.Pooling.FLOOR}
        n[f"{scale}_0"] = L.Pooling(bottom, pool=P.Pooling.AVE, **window)
        n[f"{scale}_up"] = L.Interp(_norm_conv(n, scale, n[f"{scale}_0"], channels, first=1), bottom)
        parts.append(
            _norm_conv(n, process, add_sum(n, f"{scale}_add", n[f"{scale}_up"], parts[-1], relu=False), channels, 3)
        )
    n.spp_concat = L.Concat(*parts)
    whole = _norm_conv(n, "spp_compression", n.spp_concat, outputs)
    return add_sum(n, "spp_add", whole, _norm_conv(n, "spp_shortcut", bottom, outputs), relu=False)


def _head(n: NetSpec, name: str, bottom: Top, channels: int, classes: int) -> Top:
    """Scores of the size of the input."""
    blob = add_norm(n, f"{name}_bn1", bottom, in_place=False)
    blob = add_conv_norm(n, f"{name}_conv1", f"{name}_bn2", blob, channels)
    n[f"{name}_up"] = L.Interp(add_conv(n, f"{name}_conv2", blob, classes, 1, bias=True), n.data)
    return n[f"{name}_up"]


def _segmenter(n: NetSpec, data: Top, recipe: Recipe, width: _Width) -> tuple[Top]:
    planes = width.planes
    low, high = _branches(n, data, planes)
    high = add_bottleneck(
        n, "layer5__0", add_relu(n, "high4_relu", high), 2 * planes, expansion=2, project=True, relu=False
    )
    low = add_bottleneck(
        n, "layer5_0", add_relu(n, "low4_relu", low), 8 * planes, expansion=2, stride=2, project=True, relu=False
    )
    n.spp_up = L.Interp(_pyramid(n, low, width.pyramid, 4 * planes), high)
    blob = add_sum(n, "high5", n.spp_up, high, relu=False)
    return (_head(n, "final_layer", blob, width.head, recipe.classes),)


def _auxiliary(n: NetSpec, recipe: Recipe, width: _Width) -> Sequence[tuple[Top, float]]:
    """A second head on the eighth after the first exchange."""
    return [(_head(n, "seghead_extra", n.high3, width.head, recipe.classes), 0.4)]


def _classifier_solver(recipe: Recipe) -> Fields:
    return {
        **torchvision.steps(recipe, 100, 30, 60, 90),
        "type": "Nesterov",
        "momentum": 0.9,
        "weight_decay": 0.0001,
        "average_loss": 20,
        "test_initialization": False,
    }


def _segmenter_solver(recipe: Recipe) -> Fields:
    return {
        "lr_policy": "poly",
        "power": 0.9,
        "momentum": 0.9,
        "weight_decay": 0.0005,
        "average_loss": 20,
        "test_initialization": False,
    }


_SOURCE = (
    "Hong et al., Deep dual-resolution networks for real-time and accurate semantic segmentation of road scenes, 2021; "
    "ydhongHIT/DDRNet"
)

_CLASSIFIER_NOTES = f"""\
The recipe is the authors': 0.1 by batches of 256 on four cards, a tenth after 30, 60 and 90 of 100 passes over
ImageNet, Nesterov's momentum. Here 8 batches of 32 come one after the other (`iter_size`); on four cards, `--gpu all`
with `--set iter_size=2` trains the same.

{torchvision.CHANNEL_ORDER}

{torchvision.IMAGENET_LISTS}\
"""

_SEGMENTER_NOTES = f"""\
The recipe is the authors': crops of 1024x1024 of pictures scaled by 0.5 to 2, 0.01 by batches of 12 on four cards,
484 passes over Cityscapes' 2975 pictures, from their ImageNet weights. Here 4 batches of 3 come one after the other
(`iter_size`); on four cards, `--gpu all` with `--set iter_size=1` trains the same. A second head, whose loss weighs
0.4, is in the TRAIN net alone. The authors' loss looks at hard pixels alone (OHEM), this one at all that count.
Upsampling keeps corners at corners (`Interp`), where the authors' code aligns the edges of pixels.

{torchvision.CHANNEL_ORDER}

{torchvision.CITYSCAPES_LISTS}\
"""


def _classification(name: str, width: _Width, parameters: int, macs: int) -> Network:
    return Network(
        name=name,
        task="classification",
        title="DDRNet-23" + (" slim" if width is _SLIM else ""),
        about=(
            "The body of the segmentation network as it is trained on ImageNet: two branches, of which one keeps an "
            "eighth of the size. Layers are called as the modules of the authors' code, with underscores."
        ),
        source=_SOURCE,
        pictures=imagenet.PICTURES,
        recipe=replace(torchvision.IMAGENET, max_iter=100 * torchvision.UPDATES_A_PASS),
        solver=_classifier_solver,
        transforms=torchvision.transforms,
        stages=(Stage(partial(_classifier, width=width), parameters=parameters, macs=macs),),
        notes=_CLASSIFIER_NOTES,
    )


def _segmentation(name: str, width: _Width, parameters: int, macs: int) -> Network:
    return Network(
        name=name,
        task="segmentation",
        title="DDRNet-23" + (" slim" if width is _SLIM else "") + " for segmentation",
        about=(
            "DDRNet-23 for Cityscapes: a branch of an eighth of the size for detail, one down to a 64th with pyramid "
            "pooling (DAPPM) for context. Layers are called as the modules of the authors' code, with underscores."
        ),
        source=_SOURCE,
        pictures=tutorial.PICTURES,
        recipe=Recipe(
            classes=19, width=2048, height=1024, crop=1024, mean=torchvision.MEAN, std=torchvision.STD,
            train=Source("data/train.txt"), val=Source("data/val.txt"), batch_size=3, iter_size=4, max_iter=120_000,
            base_lr=0.01, test_iter=500, snapshot=5000, display=100, moving_average_fraction=0.9,
        ),
        solver=_segmenter_solver,
        transforms=torchvision.segmentation_transforms,
        stages=(
            Stage(
                partial(_segmenter, width=width), parameters=parameters, macs=macs,
                auxiliary=partial(_auxiliary, width=width),
            ),
        ),
        notes=_SEGMENTER_NOTES,
    )  # fmt: skip


NETWORKS = (
    _classification("ddrnet23", _FULL, 28_216_488, 3_867_607_040),
    _classification("ddrnet23_slim", _SLIM, 7_574_600, 972_832_768),
    _segmentation("ddrnet23_seg", _FULL, 20_148_819, 143_060_500_480),
    _segmentation("ddrnet23_slim_seg", _SLIM, 5_695_923, 36_281_319_424),
)
