"""Around a network that names the class of a picture: pictures and classes, losses, results."""

from __future__ import annotations

from collections.abc import Sequence

from caffecompat.pycaffe.net_spec import NetSpec, Top
from caffecompat.pycaffe.net_spec import layers as L
from caffecompat.schema import pb
from caffecompat.zoo.network import Fields, Network, Recipe
from caffecompat.zoo.sizes import needed_size, resizing

__all__ = ["add_data", "add_loss", "add_losses", "add_result"]

_MANY = 100  # classes from which on the five best count, too


def add_data(n: NetSpec, network: Network, recipe: Recipe, phase: int, transform: Fields) -> None:
    """Pictures "data" and their classes "label"."""
    train = phase == pb.TRAIN
    source = recipe.train if train else recipe.val
    size = needed_size(network, recipe, transform)
    if source.lmdb:
        transform = {**transform, **resizing(size)}
        if recipe.color is not None:
            transform["force_color" if recipe.color else "force_gray"] = True
    common = {"name": network.data_layer, "ntop": 2, "include": {"phase": phase}, "transform_param": transform}
    reading: Fields = {"source": source.path, "batch_size": recipe.batch_size if train else recipe.test_batch_size}
    if source.lmdb:
        n.data, n.label = L.Data(**common, **reading, backend=source.backend)
        return
    if train:
        reading["shuffle"] = True
    if recipe.channels == 1:
        reading["is_color"] = False
    if source.root_folder:
        reading["root_folder"] = source.root_folder
    if size is not None:
        reading["new_height"], reading["new_width"] = size
    n.data, n.label = L.ImageData(**common, image_data_param=reading)


def add_loss(n: NetSpec, name: str, scores: Top, weight: float) -> None:
    """The softmax loss."""
    fields: Fields = {} if weight == 1 else {"loss_weight": weight}
    n[name] = L.SoftmaxWithLoss(scores, n.label, **fields)


def add_losses(n: NetSpec, outputs: Sequence[Top], network: Network, recipe: Recipe) -> None:
    """Loss and, in tests, the share of right answers."""
    (scores,) = outputs
    n.accuracy = L.Accuracy(scores, n.label, include={"phase": pb.TEST})
    if recipe.classes >= _MANY:
        n.accuracy_top5 = L.Accuracy(scores, n.label, top_k=5, include={"phase": pb.TEST})
    add_loss(n, "loss", scores, 1)


def add_result(n: NetSpec, outputs: Sequence[Top], network: Network, recipe: Recipe) -> None:
    """Probabilities of the classes."""
    n.prob = L.Softmax(*outputs)
