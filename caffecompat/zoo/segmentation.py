"""Around a network that labels pixels: pictures and label pictures, losses, results."""

from __future__ import annotations

from collections.abc import Sequence

from caffecompat.pycaffe.net_spec import NetSpec, Top
from caffecompat.pycaffe.net_spec import layers as L
from caffecompat.schema import pb
from caffecompat.zoo.network import Fields, Network, Recipe
from caffecompat.zoo.sizes import needed_size, resizing

__all__ = ["IGNORED", "add_data", "add_loss", "add_losses", "add_result"]

IGNORED = 255  # label of the pixels that do not count


def add_data(n: NetSpec, network: Network, recipe: Recipe, phase: int, transform: Fields) -> None:
    """Pictures "data" and label pictures "label"."""
    train = phase == pb.TRAIN
    source = recipe.train if train else recipe.val
    size = needed_size(network, recipe, transform)
    if source.lmdb:
        transform = {**_by_std(transform), **resizing(size)}
    elif size is not None:
        transform = {**transform, "interp_mode": "LINEAR"}  # under which labels are resized by nearest
    common = {"name": network.data_layer, "ntop": 2, "include": {"phase": phase}, "transform_param": transform}
    reading: Fields = {"batch_size": recipe.batch_size if train else recipe.test_batch_size}
    if train:
        reading["shuffle"] = True
    if source.lmdb:
        folders = {"image_list_path": source.part("image"), "label_list_path": source.part("label")}
        n.data, n.label = L.ImageLabelData(
            **common, image_label_data_param={**folders, **reading, "backend": source.backend}
        )
        return
    if source.root_folder:
        reading["root_folder"] = source.root_folder
    if size is not None:
        reading["new_height"], reading["new_width"] = size
    n.data, n.label = L.ImageSegData(**common, image_data_param={"source": source.path, **reading})


def _by_std(transform: Fields) -> Fields:
    """The same input without `scale`, by which ImageLabelData multiplies labels, too."""
    fields = dict(transform)
    scale = fields.pop("scale", None)
    if scale is not None:
        fields["std_value"] = [std / scale for std in fields.get("std_value", (1,))]
    return fields


def add_loss(n: NetSpec, name: str, scores: Top, weight: float) -> None:
    """The softmax loss of every pixel that counts."""
    fields: Fields = {} if weight == 1 else {"loss_weight": weight}
    n[name] = L.SoftmaxWithLoss(scores, n.label, loss_param={"ignore_label": IGNORED}, **fields)


def add_losses(n: NetSpec, outputs: Sequence[Top], network: Network, recipe: Recipe) -> None:
    """The loss and the share of right pixels."""
    (scores,) = outputs
    add_loss(n, "loss", scores, 1)
    n.accuracy = L.Accuracy(scores, n.label, ignore_label=IGNORED)


def add_result(n: NetSpec, outputs: Sequence[Top], network: Network, recipe: Recipe) -> None:
    """Probabilities of the classes for every pixel."""
    n.score = L.Softmax(*outputs)
