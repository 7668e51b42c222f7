"""The files of a network's folder: solver, train_val and deploy of every stage, and a README."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from google.protobuf.message import Message

from caffecompat.pycaffe.net_spec import NetSpec, assign_proto
from caffecompat.pycaffe.net_spec import layers as L
from caffecompat.schema import pb, write_text
from caffecompat.zoo import classification, detection, segmentation
from caffecompat.zoo.commands import Command
from caffecompat.zoo.network import Network, Recipe, Stage, Task, preparation
from caffecompat.zoo.readme import readme

__all__ = ["network_files"]

_TASKS: dict[Task, ModuleType] = {
    "classification": classification,
    "detection": detection,
    "segmentation": segmentation,
}


def network_files(
    network: Network,
    recipe: Recipe | None = None,
    folder: str | None = None,
    *,
    weights: str = "",
    before: Sequence[Command] = (),
) -> dict[str, str]:
    """File name -> text of everything in the network's folder.

    Args:
        recipe: what the user decides, usually by ``dataclasses.replace(network.recipe, classes=8)``; by default the
            published one.
        folder: where the files will be, as the README's commands name it; ``models/NAME`` by default.
        weights: that the training starts from, for the README.
        before: commands that come before it, for the README.

    Raises:
        CaffeCompatError: the network cannot be of the recipe's sizes, or cannot read its sources.
    """
    recipe = recipe or network.recipe
    network.check(recipe)
    messages: dict[str, Message] = {}
    for stage in network.stages:
        messages[f"train_val{stage.suffix}.prototxt"] = _train_val(network, stage, recipe)
        messages[f"deploy{stage.suffix}.prototxt"] = _deploy(network, stage, recipe)
        messages[f"solver{stage.suffix}.prototxt"] = _solver(network, stage, recipe)
    files = {name: write_text(message) for name, message in messages.items()}
    files["README.md"] = readme(network, recipe, folder or f"models/{network.name}", messages, weights, before)
    return files


def _train_val(network: Network, stage: Stage, recipe: Recipe) -> pb.NetParameter:
    task = _TASKS[network.task]
    train, n = NetSpec(), NetSpec()
    for spec, phase, transform in zip((train, n), (pb.TRAIN, pb.TEST), network.transforms(recipe), strict=True):
        task.add_data(spec, network, recipe, phase, transform)
    outputs = stage.body(n, n.data, recipe)
    _add_auxiliary(n, stage, recipe, task)
    task.add_losses(n, outputs, network, recipe)
    net = pb.NetParameter(name=network.name + stage.suffix)
    net.layer.extend([*train.to_proto().layer, *n.to_proto().layer])
    return _with_fraction(net, recipe)


def _add_auxiliary(n: NetSpec, stage: Stage, recipe: Recipe, task: ModuleType) -> None:
    """Heads and losses that TRAIN alone has."""
    before = set(n.keys())
    for number, (scores, weight) in enumerate(stage.auxiliary(n, recipe), 1):
        task.add_loss(n, f"auxiliary_loss{number}", scores, weight)
    for name in n.keys():  # noqa: SIM118 -- NetSpec is no mapping
        if name not in before:
            n.update(name, {"include": {"phase": pb.TRAIN}})


def _deploy(network: Network, stage: Stage, recipe: Recipe) -> pb.NetParameter:
    n = NetSpec()
    size = [recipe.deploy_batch, recipe.channels, recipe.height, recipe.width]
    n.data = L.Input(shape={"dim": size}, transform_param=preparation(recipe))
    _TASKS[network.task].add_result(n, stage.body(n, n.data, recipe), network, recipe)
    net = n.to_proto()
    net.name = network.name + stage.suffix
    return _with_fraction(net, recipe)


def _with_fraction(net: pb.NetParameter, recipe: Recipe) -> pb.NetParameter:
    if recipe.moving_average_fraction is not None:
        for layer in net.layer:
            if layer.type == "BatchNorm":
                layer.batch_norm_param.moving_average_fraction = recipe.moving_average_fraction
    return net


def _solver(network: Network, stage: Stage, recipe: Recipe) -> pb.SolverParameter:
    solver = pb.SolverParameter(
        net=f"train_val{stage.suffix}.prototxt",
        base_lr=recipe.base_lr,
        max_iter=recipe.max_iter,
        display=recipe.display,
        snapshot=recipe.snapshot,
        snapshot_prefix=recipe.snapshot_folder + network.name + stage.suffix,
        test_iter=[recipe.test_iter],
        test_interval=recipe.test_interval or recipe.snapshot,
    )
    if recipe.iter_size != 1:
        solver.iter_size = recipe.iter_size
    if recipe.random_seed >= 0:
        solver.random_seed = recipe.random_seed
    for name, value in network.solver(recipe).items():
        assign_proto(solver, name, value)
    return solver
