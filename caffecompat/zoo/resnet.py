"""ResNet-18, -34, -50 and -101 as torchvision has them, and their body for the networks that stand on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from caffecompat.pycaffe.net_spec import NetSpec, Top
from caffecompat.pycaffe.net_spec import layers as L
from caffecompat.pycaffe.net_spec import params as P
from caffecompat.zoo import imagenet, torchvision
from caffecompat.zoo.blocks import add_basic_block, add_bottleneck, add_conv_norm
from caffecompat.zoo.network import Fields, Network, Recipe, Stage

__all__ = ["NETWORKS", "Level", "add_body", "levels"]

_DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


@dataclass(frozen=True)
class Level:
    """The blocks between two sizes: `layer1` to `layer4` of torchvision.

    Attributes:
        blocks: how many.
        stride: of the first one.
        dilations: of the 3x3 convolution of each block (bottlenecks alone); empty for 1.
    """

    blocks: int
    stride: int
    dilations: tuple[int, ...] = ()


def levels(depth: int) -> list[Level]:
    """The four levels of the network of that many layers."""
    return [Level(blocks, 1 if at == 0 else 2) for at, blocks in enumerate(_DEPTHS[depth])]


def add_body(n: NetSpec, data: Top, of: Sequence[Level], *, bottleneck: bool) -> Top:
    """The network up to the last of the levels, of which the fourth may be left out."""
    blob = add_conv_norm(n, "conv1", "bn1", data, 64, 7, stride=2)
    # torchvision rounds down where Caffe rounds up.
    n.maxpool = L.Pooling(blob, pool=P.Pooling.MAX, kernel_size=3, stride=2, pad=1, round_mode=P.Pooling.FLOOR)
    blob = n.maxpool
    for at, level in enumerate(of):
        for number in range(level.blocks):
            name = f"layer{at + 1}_{number}"
            first = number == 0
            stride = level.stride if first else 1
            if bottleneck:
                dilation = level.dilations[number] if level.dilations else 1
                blob = add_bottleneck(
                    n, name, blob, 64 << at, stride=stride, dilation=dilation, project=first
                )  # fmt: skip
            else:
                blob = add_basic_block(n, name, blob, 64 << at, stride=stride, project=first and at > 0)
    return blob


def _body(n: NetSpec, data: Top, recipe: Recipe, depth: int) -> tuple[Top]:
    blob = add_body(n, data, levels(depth), bottleneck=depth >= 50)
    n.avgpool = L.Pooling(blob, pool=P.Pooling.AVE, global_pooling=True)
    n.fc = L.InnerProduct(n.avgpool, num_output=recipe.classes, weight_filler={"type": "xavier"})
    return (n.fc,)


def _solver(recipe: Recipe) -> Fields:
    return {
        **torchvision.steps(recipe, 90, 30, 60),
        "momentum": 0.9,
        "weight_decay": 0.0001,
        "average_loss": 20,
        "test_initialization": False,
    }


_NOTES = f"""\
The recipe is torchvision's: 0.1 by batches of 256, a tenth after 30 and 60 of 90 passes over ImageNet. Its batches are
those of eight cards with 32 pictures each; here 8 batches of 32 come one after the other (`iter_size`). On eight cards,
`--gpu all` with `--set iter_size=1` trains the same.

{torchvision.CHANNEL_ORDER}

{torchvision.IMAGENET_LISTS}\
"""


def _network(depth: int, parameters: int, macs: int) -> Network:
    return Network(
        name=f"resnet{depth}",
        task="classification",
        title=f"ResNet-{depth}",
        about=(
            f"ResNet-{depth} for ImageNet as torchvision has it"
            + (" (the 3x3 convolutions have the strides)" if depth >= 50 else "")
            + ". Layers are called as its modules, with underscores, so that its weights fit (`weights convert`)."
        ),
        source="He et al., Deep residual learning for image recognition, 2016; torchvision",
        pictures=imagenet.PICTURES,
        recipe=torchvision.IMAGENET,
        solver=_solver,
        transforms=torchvision.transforms,
        stages=(Stage(partial(_body, depth=depth), parameters=parameters, macs=macs),),
        notes=_NOTES,
    )


NETWORKS = (
    _network(18, 11_689_512, 1_814_073_344),
    _network(34, 21_797_672, 3_663_761_408),
    _network(50, 25_557_032, 4_089_184_256),
    _network(101, 44_549_160, 7_801_405_440),
)
