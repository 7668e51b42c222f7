"""The networks of ``models/``: every file of a folder, made from the builders.

``python -m caffecompat.zoo models`` writes them all; a test holds the folder
and this module in step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from caffecompat.schema import pb, write_text
from caffecompat.zoo import enet, espnet, lenet
from caffecompat.zoo.builder import NetBuilder

__all__ = ["NETWORKS", "Segmentation", "lenet_files", "segmentation_files"]

Head = Callable[[NetBuilder, str, int], str]
Files = dict[str, str]

# Cityscapes' color means (B, G, R) and the scale that the published segmentation weights were trained with.
_MEAN, _SCALE = (73.0, 82.0, 72.0), 0.022
_DIGITS_SCALE = 1 / 256


@dataclass(frozen=True)
class Segmentation:
    """What a user decides about a segmentation network.

    Sizes are pixels. `width` and `height` are the deployed input; training
    crops `crop` x `crop` out of images that are at least that large. A
    `snapshot_folder` ends in a slash; empty is the current directory. The
    `moving_average_fraction` of batch normalization is Caffe's 0.999 unless
    given; trainings of fewer than some thousand iterations need a smaller one,
    or TEST normalizes by statistics from their very beginning.
    """

    classes: int = 19
    width: int = 1024
    height: int = 512
    crop: int = 512
    batch_size: int = 5
    iter_size: int = 10
    max_iter: int = 20000
    base_lr: float = 0.0005
    snapshot: int = 1000
    display: int = 50
    train_list: str = "data/train.txt"
    val_list: str = "data/val.txt"
    test_iter: int = 500
    mirror: bool = True
    random_seed: int = -1
    snapshot_folder: str = ""
    moving_average_fraction: float | None = None


def _prepare(layer: pb.LayerParameter) -> None:
    layer.transform_param.scale = _SCALE
    layer.transform_param.mean_value.extend(_MEAN)


def _image_layer(b: NetBuilder, config: Segmentation, phase: int, source: str, batch_size: int) -> None:
    layer = b.layer("ImageSegData", "data", (), ("data", "label"))
    layer.include.add(phase=phase)
    _prepare(layer)
    layer.image_data_param.source = source
    layer.image_data_param.batch_size = batch_size
    if phase == pb.TRAIN:
        layer.transform_param.mirror = config.mirror
        layer.transform_param.crop_size = config.crop
        layer.image_data_param.shuffle = True


def _train_val(name: str, head: Head, config: Segmentation) -> pb.NetParameter:
    b = NetBuilder(name, config.moving_average_fraction)
    _image_layer(b, config, pb.TRAIN, config.train_list, config.batch_size)
    _image_layer(b, config, pb.TEST, config.val_list, 1)
    scores = head(b, "data", config.classes)
    b.layer("SoftmaxWithLoss", "loss", (scores, "label"), ("loss",)).loss_param.ignore_label = 255
    b.layer("Accuracy", "accuracy", (scores, "label"), ("accuracy",)).accuracy_param.ignore_label = 255
    return b.net


def _deploy(name: str, head: Head, config: Segmentation) -> pb.NetParameter:
    b = NetBuilder(name, config.moving_average_fraction)
    data = b.layer("Input", "data", (), ("data",))
    data.input_param.shape.add().dim.extend((1, 3, config.height, config.width))
    _prepare(data)
    scores = head(b, "data", config.classes)
    b.layer("Softmax", "score", (scores,), ("score",))
    return b.net


def _solver(config: Segmentation, net: str, prefix: str) -> pb.SolverParameter:
    solver = pb.SolverParameter(
        net=net,
        type="Adam",
        base_lr=config.base_lr,
        lr_policy="poly",
        power=0.9,
        momentum=0.9,
        weight_decay=0.0005,
        iter_size=config.iter_size,
        max_iter=config.max_iter,
        display=config.display,
        average_loss=10,
        snapshot=config.snapshot,
        snapshot_prefix=prefix,
        test_iter=[config.test_iter],
        test_interval=config.snapshot,
        test_initialization=False,
    )
    if config.random_seed >= 0:
        solver.random_seed = config.random_seed
    return solver


def segmentation_files(network: str, config: Segmentation = Segmentation()) -> Files:
    """File name -> text of a two-stage segmentation network: the encoder first, then the full net from its snapshot.

    Args:
        network: ``espnet`` or ``enet``.
    """
    module = {"espnet": espnet, "enet": enet}[network]
    files: Files = {}
    for suffix, head in (("_encoder", module.encoder_head), ("", module.decoder)):
        name = network + suffix
        files[f"train_val{suffix}.prototxt"] = write_text(_train_val(name, head, config))
        files[f"deploy{suffix}.prototxt"] = write_text(_deploy(name, head, config))
        files[f"solver{suffix}.prototxt"] = write_text(
            _solver(config, f"train_val{suffix}.prototxt", config.snapshot_folder + name)
        )
    return files


def _digits(b: NetBuilder, phase: int, source: str, batch_size: int) -> None:
    layer = b.layer("Data", "mnist", (), ("data", "label"))
    layer.include.add(phase=phase)
    layer.transform_param.scale = _DIGITS_SCALE
    layer.data_param.source = source
    layer.data_param.batch_size = batch_size
    layer.data_param.backend = pb.DataParameter.LMDB


def lenet_files() -> Files:
    """File name -> text of LeNet."""
    train = NetBuilder("LeNet")
    _digits(train, pb.TRAIN, "data/mnist_train_lmdb", 64)
    _digits(train, pb.TEST, "data/mnist_test_lmdb", 100)
    scores = lenet.scores(train, "data", 10)
    train.layer("Accuracy", "accuracy", (scores, "label"), ("accuracy",)).include.add(phase=pb.TEST)
    train.layer("SoftmaxWithLoss", "loss", (scores, "label"), ("loss",))

    deploy = NetBuilder("LeNet")
    data = deploy.layer("Input", "data", (), ("data",))
    data.input_param.shape.add().dim.extend((64, 1, 28, 28))
    data.transform_param.scale = _DIGITS_SCALE
    deploy.layer("Softmax", "prob", (lenet.scores(deploy, "data", 10),), ("prob",))

    solver = pb.SolverParameter(
        net="train_val.prototxt",
        test_iter=[100],
        test_interval=500,
        base_lr=0.01,
        momentum=0.9,
        weight_decay=0.0005,
        lr_policy="inv",
        gamma=0.0001,
        power=0.75,
        display=100,
        max_iter=10000,
        snapshot=5000,
        snapshot_prefix="lenet",
    )
    return {
        "train_val.prototxt": write_text(train.net),
        "deploy.prototxt": write_text(deploy.net),
        "solver.prototxt": write_text(solver),
    }


NETWORKS: dict[str, Callable[[], Files]] = {
    "lenet": lenet_files,
    "espnet": lambda: segmentation_files("espnet"),
    "enet": lambda: segmentation_files("enet"),
}
