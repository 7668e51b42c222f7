"""DeepLabV3 on ResNet-101 at a sixteenth and at an eighth of the size, which the same weights serve."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from caffecompat.pycaffe.net_spec import NetSpec, Top
from caffecompat.pycaffe.net_spec import layers as L
from caffecompat.pycaffe.net_spec import params as P
from caffecompat.zoo import torchvision
from caffecompat.zoo.blocks import add_conv, add_conv_norm
from caffecompat.zoo.network import Fields, Network, Recipe, Source, Stage
from caffecompat.zoo.resnet import Level, add_body, levels

__all__ = ["NETWORKS"]

_PICTURES = 10_582  # of the training sets of VOC and SBD
_MULTI_GRID = (1, 2, 4)
_CHANNELS = 256  # of the pyramid


@dataclass(frozen=True)
class _Stride:
    """How much smaller the scores are before they are enlarged, and what follows from it."""

    stride: int

    @property
    def rates(self) -> tuple[int, ...]:
        """Dilations of the pyramid's 3x3 convolutions."""
        return tuple(rate * 16 // self.stride for rate in (6, 12, 18))

    @property
    def levels(self) -> list[Level]:
        """Those of ResNet-101: what is not strided is dilated, the last one in multi-grid."""
        first, second, third, fourth = levels(101)
        if self.stride == 8:
            third = Level(third.blocks, 1, (2,) * third.blocks)
        rate = 32 // self.stride
        return [first, second, third, Level(fourth.blocks, 1, tuple(rate * grid for grid in _MULTI_GRID))]


def _body(n: NetSpec, data: Top, recipe: Recipe, at: _Stride) -> tuple[Top]:
    blob = _pyramid(n, add_body(n, data, at.levels, bottleneck=True), at.rates)
    n.upsampled = L.Interp(add_conv(n, "classifier", blob, recipe.classes, 1, bias=True), data)
    return (n.upsampled,)


def _pyramid(n: NetSpec, bottom: Top, rates: tuple[int, ...]) -> Top:
    """Atrous spatial pyramid pooling (ASPP), with the mean over the whole picture as its last part."""
    parts = [add_conv_norm(n, "aspp0", "aspp0_bn", bottom, _CHANNELS, 1)]
    for number, rate in enumerate(rates, 1):
        parts.append(add_conv_norm(n, f"aspp{number}", f"aspp{number}_bn", bottom, _CHANNELS, dilation=rate))
    n.image_pool = L.Pooling(bottom, pool=P.Pooling.AVE, global_pooling=True)
    pooled = add_conv_norm(n, "image_pool_conv", "image_pool_bn", n.image_pool, _CHANNELS, 1)
    n.image_pool_up = L.Interp(pooled, bottom)
    n.aspp = L.Concat(*parts, n.image_pool_up)
    return add_conv_norm(n, "aspp_project", "aspp_project_bn", n.aspp, _CHANNELS, 1)


def _solver(recipe: Recipe) -> Fields:
    return {
        "lr_policy": "poly",
        "power": 0.9,
        "momentum": 0.9,
        "weight_decay": 0.0001,
        "average_loss": 20,
        "test_initialization": False,
    }


_COMMON_NOTES = f"""\
Crops are 513x513 of pictures scaled by 0.5 to 2; what is smaller is padded with the mean, and with the ignored label.
The statistics of the normalizations want batches of 16: on a card that is too small for these, train with smaller ones
and `--set iter_size=...`, better with `--freeze-bn`.

{torchvision.CHANNEL_ORDER}

The lists, from VOC and SBD:

    caffecompat list voc-segmentation VOCdevkit/VOC2012 --out data --norelative
    caffecompat list sbd benchmark_RELEASE --voc VOCdevkit/VOC2012 --out data/sbd --norelative\
"""

_NOTES_16 = f"""\
The recipe is the paper's: 0.007 by batches of 16, 30,000 updates on the 10,582 pictures of VOC's and SBD's training
sets, from ImageNet weights of ResNet-101 (`weights convert`, then `--weights`).

{_COMMON_NOTES}\
"""

_NOTES_8 = f"""\
The recipe is the paper's second: from the weights of `deeplab_v3_s16`, 0.001 by batches of 16, 30,000 updates. The
normalizations stay as they are: `--weights deeplab_v3_s16_iter_30000.caffemodel --freeze-bn`.

{_COMMON_NOTES}\
"""


def _transforms(recipe: Recipe) -> tuple[Fields, Fields]:
    """In tests pictures are padded to the size of the crops."""
    train, test = torchvision.segmentation_transforms(recipe)
    padded: Fields = {"crop_size": recipe.crop, "scale_min": 1, "scale_max": 1} if recipe.crop else {}
    return train, {**test, **padded}


def _network(stride: int, base_lr: float, macs: int, notes: str) -> Network:
    return Network(
        name=f"deeplab_v3_s{stride}",
        task="segmentation",
        title=f"DeepLabV3, output stride {stride}",
        about=(
            "DeepLabV3 on ResNet-101 for Pascal VOC: the last level in multi-grid (1, 2, 4), a pyramid of dilated "
            "convolutions (ASPP) with the mean over the picture, no decoder. Layers of the body are called as "
            "torchvision's modules, with underscores, and are the same at both output strides."
        ),
        source="Chen et al., Rethinking atrous convolution for semantic image segmentation, 2017",
        pictures=_PICTURES,
        recipe=Recipe(
            classes=21, width=513, height=513, crop=513, mean=torchvision.MEAN, std=torchvision.STD,
            train=Source("data/sbd/trainaug.txt"), val=Source("data/val.txt"), batch_size=16, max_iter=30_000,
            base_lr=base_lr, test_iter=1449, snapshot=2000, display=50, moving_average_fraction=0.9,
        ),
        solver=_solver,
        transforms=_transforms,
        stages=(Stage(partial(_body, at=_Stride(stride)), parameters=58_040_661, macs=macs),),
        notes=notes,
    )  # fmt: skip


NETWORKS = (
    _network(16, 0.007, 71_061_387_712, _NOTES_16),
    _network(8, 0.001, 246_182_050_240, _NOTES_8),
)
