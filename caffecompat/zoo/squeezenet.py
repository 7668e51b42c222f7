"""SqueezeNet v1.1, with the layer names and rates of its authors, so that their weights load by name."""

from __future__ import annotations

from caffecompat.pycaffe.net_spec import NetSpec, Top
from caffecompat.pycaffe.net_spec import layers as L
from caffecompat.pycaffe.net_spec import params as P
from caffecompat.zoo import imagenet
from caffecompat.zoo.imagenet import MEAN, NOTES, TRAIN, VAL, transforms
from caffecompat.zoo.network import Fields, Network, Recipe, Stage

__all__ = ["NETWORKS"]

# Channels that a module is squeezed to and, twice, expanded to; before those of `_POOLED` the picture is halved.
_FIRES = {2: (16, 64), 3: (16, 64), 4: (32, 128), 5: (32, 128), 6: (48, 192), 7: (48, 192), 8: (64, 256), 9: (64, 256)}
_POOLED = {2: 1, 4: 3, 6: 5}  # module -> number of the pooling before it


def _conv(n: NetSpec, bottom: Top, name: str, outputs: int, kernel: int = 1, **window: int) -> Top:
    n[name] = L.Convolution(bottom, num_output=outputs, kernel_size=kernel, weight_filler={"type": "xavier"}, **window)
    prefix, _, kind = name.rpartition("/")
    relu = f"{prefix}/relu_{kind}" if prefix else f"relu_{kind}"
    n[relu] = L.ReLU(n[name], in_place=True)
    return n[relu]


def _fire(n: NetSpec, bottom: Top, number: int) -> Top:
    """A 1x1 convolution to few channels, a 1x1 and a 3x3 convolution from them side by side."""
    squeeze, expand = _FIRES[number]
    name = f"fire{number}"
    few = _conv(n, bottom, f"{name}/squeeze1x1", squeeze)
    parts = [_conv(n, few, f"{name}/expand1x1", expand), _conv(n, few, f"{name}/expand3x3", expand, 3, pad=1)]
    n[f"{name}/concat"] = L.Concat(*parts)
    return n[f"{name}/concat"]


def _body(n: NetSpec, data: Top, recipe: Recipe) -> tuple[Top]:
    blob = _conv(n, data, "conv1", 64, 3, stride=2)
    for number in _FIRES:
        if number in _POOLED:
            name = f"pool{_POOLED[number]}"
            n[name] = blob = L.Pooling(blob, pool=P.Pooling.MAX, kernel_size=3, stride=2)
        blob = _fire(n, blob, number)
    n.drop9 = L.Dropout(blob, dropout_ratio=0.5, in_place=True)
    n.conv10 = L.Convolution(
        n.drop9, num_output=recipe.classes, kernel_size=1, weight_filler={"type": "gaussian", "std": 0.01}
    )
    n.relu_conv10 = L.ReLU(n.conv10, in_place=True)
    n.pool10 = L.Pooling(n.relu_conv10, pool=P.Pooling.AVE, global_pooling=True)
    return (n.pool10,)


def _solver(recipe: Recipe) -> Fields:
    return {
        "lr_policy": "poly",
        "power": 1.0,
        "momentum": 0.9,
        "weight_decay": 0.0002,
        "average_loss": 40,
        "test_initialization": False,
    }


_NOTES = f"""\
The solver is the authors': 170,000 updates by 16 batches of 32 pictures. They train on crops of 227x227 without
mirroring.

{NOTES}\
"""

NETWORKS = (
    Network(
        name="squeezenet",
        task="classification",
        title="SqueezeNet v1.1",
        about=(
            "SqueezeNet v1.1 for ImageNet: the accuracy of AlexNet from a fiftieth of its parameters. Layer names are "
            "the authors', so that `squeezenet_v1.1.caffemodel` loads by name."
        ),
        source="Iandola et al., SqueezeNet, 2016; the repository DeepScale/SqueezeNet",
        pictures=imagenet.PICTURES,
        recipe=Recipe(
            classes=1000, width=227, height=227, crop=227, mean=MEAN, train=TRAIN, val=VAL, mirror=False,
            deploy_batch=10, batch_size=32, iter_size=16, test_batch_size=25, max_iter=170_000, base_lr=0.04,
            test_iter=2000, snapshot=1000, display=40,
        ),
        smallest=17,
        solver=_solver,
        transforms=transforms,
        stages=(Stage(_body, parameters=1_235_496, macs=387_747_520),),
        notes=_NOTES,
    ),
)  # fmt: skip
