"""The commands that train, score, use and export a network of a folder; its README has them, and ``new`` prints them.

A command is a list of lines: the first begins with the verb, the others are put under it.
"""

from __future__ import annotations

import shlex

from caffecompat.zoo.network import Network, Recipe, Source, Stage

__all__ = ["Command", "exporting", "one_line", "scoring", "training", "using"]

Command = list[str]

_VERBS = {
    "classification": ("classify", ""),
    "segmentation": ("segment", "--out segmented "),
    "detection": ("detect", "--out found "),
}


def one_line(command: Command) -> str:
    """The command as it is typed."""
    return " ".join(["caffecompat", *command])


def training(network: Network, recipe: Recipe, folder: str, weights: str = "") -> list[Command]:
    """A training for each stage, from the weights that the one before it ends with.

    Args:
        folder: where the files are, as the commands name it.
        weights: that the first one starts from.
    """
    commands = []
    for stage in network.stages:
        start = f" --weights {shlex.quote(weights)}" if weights else ""
        commands.append([f"train --solver {_file(folder, f'solver{stage.suffix}.prototxt')}{start}"])
        weights = _weights(network, stage, recipe)
    return commands


def scoring(network: Network, recipe: Recipe, folder: str) -> Command:
    """The score on the pictures to test with."""
    if network.task == "classification":  # train_val's own data comes in the sizes of its TEST phase
        names = f" --classes {shlex.quote(recipe.labels)}" if recipe.labels else ""
        return [f"eval classification {_model(network, recipe, folder, 'train_val')}{names}"]
    labels = f" --labelmap {shlex.quote(recipe.label_map)}" if recipe.label_map else ""
    names = f" --classes {shlex.quote(recipe.labels)}" if recipe.labels else ""
    return [
        f"eval {network.task} {_model(network, recipe, folder)}",
        _fed(recipe.val) + labels + names,
    ]


def using(network: Network, recipe: Recipe, folder: str) -> Command:
    """What the network says of a picture."""
    verb, out = _VERBS[network.task]
    labels = f" --labelmap {shlex.quote(recipe.label_map)}" if recipe.label_map else ""
    return [f"{verb} {_model(network, recipe, folder)}", f"{out}picture.png{labels}"]


def exporting(network: Network, recipe: Recipe, folder: str) -> Command:
    """The ONNX file."""
    names = f"--labels {shlex.quote(recipe.labels)} " if recipe.labels else ""
    out = shlex.quote(f"{recipe.snapshot_folder}{network.name}.onnx")
    return [f"export onnx {_model(network, recipe, folder)}", f"{names}{out}"]


def _file(folder: str, name: str) -> str:
    return shlex.quote(f"{folder}/{name}")


def _model(network: Network, recipe: Recipe, folder: str, net: str = "deploy") -> str:
    weights = _weights(network, network.stages[-1], recipe)
    return f"--model {_file(folder, f'{net}.prototxt')} --weights {shlex.quote(weights)}"


def _weights(network: Network, stage: Stage, recipe: Recipe) -> str:
    return f"{recipe.snapshot_folder}{network.name}{stage.suffix}_iter_{recipe.max_iter}.caffemodel"


def _fed(source: Source) -> str:
    if source.lmdb:
        return f"--db {shlex.quote(source.path)}"
    root = f" --root-folder {shlex.quote(source.root_folder)}" if source.root_folder else ""
    return f"--list {shlex.quote(source.path)}{root}"
