"""The larger net of Caffe's CIFAR-10 example, with its layer names, fillers and rates."""

from __future__ import annotations

from caffecompat.pycaffe.net_spec import NetSpec, Top
from caffecompat.pycaffe.net_spec import layers as L
from caffecompat.pycaffe.net_spec import params as P
from caffecompat.zoo.network import Fields, Network, Recipe, Source, Stage, preparation

__all__ = ["NETWORKS"]

_TWICE = [{"lr_mult": 1}, {"lr_mult": 2}]


def _conv(n: NetSpec, bottom: Top, name: str, outputs: int, std: float, **rates: object) -> Top:
    n[name] = L.Convolution(
        bottom, num_output=outputs, kernel_size=5, pad=2,
        weight_filler={"type": "gaussian", "std": std}, bias_filler={"type": "constant"}, **rates,
    )  # fmt: skip
    return n[name]


def _norm(n: NetSpec, bottom: Top, name: str) -> Top:
    """Normalization over 3x3 pixels of the same channel."""
    n[name] = L.LRN(bottom, local_size=3, alpha=5e-5, beta=0.75, norm_region=P.LRN.WITHIN_CHANNEL)
    return n[name]


def _body(n: NetSpec, data: Top, recipe: Recipe) -> tuple[Top]:
    n.pool1 = L.Pooling(_conv(n, data, "conv1", 32, 1e-4, param=_TWICE), pool=P.Pooling.MAX, kernel_size=3, stride=2)
    n.relu1 = L.ReLU(n.pool1, in_place=True)
    norm1 = _norm(n, n.relu1, "norm1")
    n.relu2 = L.ReLU(_conv(n, norm1, "conv2", 32, 0.01, param=_TWICE), in_place=True)
    n.pool2 = L.Pooling(n.relu2, pool=P.Pooling.AVE, kernel_size=3, stride=2)
    norm2 = _norm(n, n.pool2, "norm2")
    n.relu3 = L.ReLU(_conv(n, norm2, "conv3", 64, 0.01), in_place=True)
    n.pool3 = L.Pooling(n.relu3, pool=P.Pooling.AVE, kernel_size=3, stride=2)
    n.ip1 = L.InnerProduct(
        n.pool3, num_output=recipe.classes, weight_filler={"type": "gaussian", "std": 0.01},
        bias_filler={"type": "constant"}, param=[{"lr_mult": 1, "decay_mult": 250}, {"lr_mult": 2, "decay_mult": 0}],
    )  # fmt: skip
    return (n.ip1,)


def _solver(recipe: Recipe) -> Fields:
    """A tenth of the rate for the last two fourteenths of the training each."""
    return {
        "lr_policy": "multistep",
        "stepvalue": [recipe.max_iter * 12 // 14, recipe.max_iter * 13 // 14],
        "gamma": 0.1,
        "momentum": 0.9,
        "weight_decay": 0.004,
    }


def _transforms(recipe: Recipe) -> tuple[Fields, Fields]:
    mirror: Fields = {"mirror": True} if recipe.mirror else {}
    return {**preparation(recipe), **mirror}, preparation(recipe)


_NOTES = """\
The databases, from folders of pictures of one class each:

    caffecompat lmdb build cifar10/train data/cifar10_train_lmdb
    caffecompat lmdb build cifar10/test data/cifar10_test_lmdb

Caffe's example trains with three solvers one after the other (60,000 iterations, 5,000 at a tenth of the rate, 5,000
at a hundredth), here one multistep solver has the same rates; and it subtracts a mean picture, here the mean of each
channel is subtracted.\
"""

NETWORKS = (
    Network(
        name="cifar10_full",
        task="classification",
        title="CIFAR-10, full",
        about=(
            "The larger net of Caffe's CIFAR-10 example: three convolutions of 5x5, pooling, local normalization. "
            "Layer names, fillers and rates are the example's."
        ),
        source="Caffe's examples/cifar10",
        pictures=50_000,
        recipe=Recipe(
            classes=10, width=32, height=32, mean=(113.9, 123.0, 125.3), mirror=False,
            train=Source("data/cifar10_train_lmdb", lmdb=True), val=Source("data/cifar10_test_lmdb", lmdb=True),
            batch_size=100, test_batch_size=100, max_iter=70_000, base_lr=0.001, test_iter=100, test_interval=1000,
            snapshot=10_000, display=200,
        ),
        smallest=8,
        solver=_solver,
        transforms=_transforms,
        stages=(Stage(_body, parameters=89_578, macs=12_298_240),),
        data_layer="cifar",
        notes=_NOTES,
    ),
)  # fmt: skip
