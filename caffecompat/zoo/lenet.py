"""LeNet for MNIST, with the layer names and rates of Caffe's own example, so that its weights load by name."""

from __future__ import annotations

from caffecompat.pycaffe.net_spec import NetSpec, Top
from caffecompat.pycaffe.net_spec import layers as L
from caffecompat.pycaffe.net_spec import params as P
from caffecompat.zoo.network import Fields, Network, Recipe, Source, Stage, preparation

__all__ = ["NETWORKS"]

_LEARNED: Fields = {"param": [{"lr_mult": 1}, {"lr_mult": 2}], "weight_filler": {"type": "xavier"}}


def _body(n: NetSpec, data: Top, recipe: Recipe) -> tuple[Top]:
    n.conv1 = L.Convolution(data, num_output=20, kernel_size=5, **_LEARNED)
    n.pool1 = L.Pooling(n.conv1, pool=P.Pooling.MAX, kernel_size=2, stride=2)
    n.conv2 = L.Convolution(n.pool1, num_output=50, kernel_size=5, **_LEARNED)
    n.pool2 = L.Pooling(n.conv2, pool=P.Pooling.MAX, kernel_size=2, stride=2)
    n.ip1 = L.InnerProduct(n.pool2, num_output=500, **_LEARNED)
    n.relu1 = L.ReLU(n.ip1, in_place=True)
    n.ip2 = L.InnerProduct(n.relu1, num_output=recipe.classes, **_LEARNED)
    return (n.ip2,)


def _solver(recipe: Recipe) -> Fields:
    return {"momentum": 0.9, "weight_decay": 0.0005, "lr_policy": "inv", "gamma": 0.0001, "power": 0.75}


def _transforms(recipe: Recipe) -> tuple[Fields, Fields]:
    return preparation(recipe), preparation(recipe)


_NOTES = """\
The databases, from folders 0 ... 9 of pictures (LevelDBs work as well: `--set mnist.data_param.backend=LEVELDB`):

    caffecompat lmdb build mnist/train data/mnist_train_lmdb --gray
    caffecompat lmdb build mnist/test data/mnist_test_lmdb --gray\
"""

_MEASURED = """\
| weights | on | accuracy | loss |
|---|---|---|---|
| published `lenet_iter_10000.caffemodel` (V2 format) | MNIST test, 10000 digits | 0.9914 | 0.02727 |
"""

NETWORKS = (
    Network(
        name="lenet",
        task="classification",
        title="LeNet",
        about=(
            "Caffe's LeNet for 28x28 digits (MNIST): two convolutions with max pooling, two inner products. Layer "
            "names, learning rates and the solver are those of Caffe's own example, so every `lenet_iter_*.caffemodel` "
            "loads by name."
        ),
        source="Caffe's examples/mnist",
        pictures=60_000,
        recipe=Recipe(
            classes=10, width=28, height=28, channels=1, scale=1 / 256, mirror=False, deploy_batch=64,
            train=Source("data/mnist_train_lmdb", lmdb=True), val=Source("data/mnist_test_lmdb", lmdb=True),
            batch_size=64, test_batch_size=100, max_iter=10000, base_lr=0.01, test_iter=100, test_interval=500,
            snapshot=5000, display=100,
        ),
        smallest=13,
        solver=_solver,
        transforms=_transforms,
        stages=(Stage(_body, parameters=431_080, macs=2_293_000),),
        data_layer="mnist",
        notes=_NOTES,
        measured=_MEASURED,
    ),
)  # fmt: skip
