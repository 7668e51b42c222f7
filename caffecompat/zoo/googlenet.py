"""GoogLeNet (inception v1) with the layer names, fillers and rates of Caffe's own model, whose weights load by name."""

from __future__ import annotations

from collections.abc import Sequence

from caffecompat.pycaffe.net_spec import NetSpec, Top
from caffecompat.pycaffe.net_spec import layers as L
from caffecompat.pycaffe.net_spec import params as P
from caffecompat.zoo import imagenet, inception
from caffecompat.zoo.imagenet import MEAN, NOTES, TRAIN, VAL, transforms
from caffecompat.zoo.network import Fields, Network, Recipe, Stage

__all__ = ["NETWORKS"]

_RATES = [{"lr_mult": 1, "decay_mult": 1}, {"lr_mult": 2, "decay_mult": 0}]


def _learned(bias: float) -> Fields:
    return {
        "param": _RATES,
        "weight_filler": {"type": "xavier"},
        "bias_filler": {"type": "constant", "value": bias},
    }


def _conv(n: NetSpec, bottom: Top, name: str, outputs: int, kernel: int, stride: int = 1) -> Top:
    n[name] = L.Convolution(
        bottom, num_output=outputs, kernel_size=kernel, stride=stride, pad=kernel // 2, **_learned(0.2)
    )
    n[inception.relu_name(name)] = L.ReLU(n[name], in_place=True)
    return n[inception.relu_name(name)]


def _body(n: NetSpec, data: Top, recipe: Recipe) -> tuple[Top]:
    blob = inception.add_body(n, data, _conv, local_norm=True)
    n["pool5/7x7_s1"] = L.Pooling(blob, pool=P.Pooling.AVE, global_pooling=True)
    n["pool5/drop_7x7_s1"] = L.Dropout(n["pool5/7x7_s1"], dropout_ratio=0.4, in_place=True)
    n["loss3/classifier"] = L.InnerProduct(n["pool5/drop_7x7_s1"], num_output=recipe.classes, **_learned(0))
    return (n["loss3/classifier"],)


def _auxiliary(n: NetSpec, recipe: Recipe) -> Sequence[tuple[Top, float]]:
    """Two classifiers at half the depth; their losses weigh 0.3."""
    return [
        (_classifier(n, f"loss{number}", n[f"inception_{at}/output"], recipe), 0.3)
        for number, at in ((1, "4a"), (2, "4d"))
    ]


def _classifier(n: NetSpec, name: str, bottom: Top, recipe: Recipe) -> Top:
    n[f"{name}/ave_pool"] = L.Pooling(bottom, pool=P.Pooling.AVE, kernel_size=5, stride=3)
    n[f"{name}/conv"] = L.Convolution(n[f"{name}/ave_pool"], num_output=128, kernel_size=1, **_learned(0.2))
    n[f"{name}/relu_conv"] = L.ReLU(n[f"{name}/conv"], in_place=True)
    n[f"{name}/fc"] = L.InnerProduct(n[f"{name}/relu_conv"], num_output=1024, **_learned(0.2))
    n[f"{name}/relu_fc"] = L.ReLU(n[f"{name}/fc"], in_place=True)
    n[f"{name}/drop_fc"] = L.Dropout(n[f"{name}/relu_fc"], dropout_ratio=0.7, in_place=True)
    n[f"{name}/classifier"] = L.InnerProduct(n[f"{name}/drop_fc"], num_output=recipe.classes, **_learned(0))
    return n[f"{name}/classifier"]


def _solver(recipe: Recipe) -> Fields:
    return {
        "lr_policy": "poly",
        "power": 0.5,
        "momentum": 0.9,
        "weight_decay": 0.0002,
        "average_loss": 40,
        "test_initialization": False,
    }


_NOTES = f"""\
The solver is that of the published weights (Caffe's quick_solver: 2.4 million updates by 32 pictures). Two classifiers
at half the depth, whose losses weigh 0.3, are in the TRAIN net alone.

{NOTES}\
"""

NETWORKS = (
    Network(
        name="googlenet",
        task="classification",
        title="GoogLeNet",
        about=(
            "GoogLeNet (inception v1) for ImageNet. Layer names are those of Caffe's own model, so that "
            "`bvlc_googlenet.caffemodel` loads by name. The last pooling takes the whole picture, so any size works "
            "that leaves the two training classifiers a pooling of 5x5: 96 pixels at least."
        ),
        source="Szegedy et al., Going deeper with convolutions, 2015; Caffe's models/bvlc_googlenet",
        pictures=imagenet.PICTURES,
        recipe=Recipe(
            classes=1000, width=224, height=224, crop=224, mean=MEAN, train=TRAIN, val=VAL, deploy_batch=10,
            batch_size=32, test_batch_size=50, max_iter=2_400_000, base_lr=0.01, test_iter=1000, test_interval=4000,
            snapshot=40000, display=40,
        ),
        smallest=96,
        solver=_solver,
        transforms=transforms,
        stages=(Stage(_body, parameters=6_998_552, macs=1_582_671_872, auxiliary=_auxiliary),),
        notes=_NOTES,
    ),
)  # fmt: skip
