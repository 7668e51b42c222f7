"""README.md of a network's folder: what it is, its numbers, and the commands to train, score and use it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from google.protobuf.message import Message

from caffecompat.zoo import commands
from caffecompat.zoo.commands import Command
from caffecompat.zoo.network import Network, Recipe
from caffecompat.zoo.readers import readers_table

__all__ = ["readme"]

_LISTS = {
    "classification": "A list has a line `picture class` for each picture; classes count from 0.",
    "segmentation": (
        "A list has a line `picture label-picture` for each picture; labels are classes from 0 on, 255 is ignored."
    ),
    "detection": "",
}
_OTHERS = """\
By their layer types and fields these files are read by the Caffes below, of BVLC's, SSD's, TI's (caffe-jacinto),
Xilinx's, ENet's, PSPNet's and DeepLab's. Where rules differ they may compute something else; `--fork` names a Caffe."""


def readme(
    network: Network, recipe: Recipe, folder: str, files: Mapping[str, Message], weights: str = "",
    before: Sequence[Command] = (),
) -> str:  # fmt: skip
    """The text.

    Args:
        folder: where the files will be, as the commands name it.
        files: the prototxts, by their names.
        weights: that the training starts from.
        before: commands that come before it.
    """
    about = _wrapped(f"{network.about} Source: {network.source}.")
    parts = [f"# {network.title}", about, _table(network), _files(network, recipe), "## Train"]
    parts.append(_wrapped(_reading(network, recipe)))
    parts += [text if text.startswith("    ") else _wrapped(text) for text in _notes(network, recipe)]
    if len(network.stages) > 1:
        parts.append(
            _wrapped("The stages share the names of common layers, so `--weights` takes over what the next one has.")
        )
    parts.append(_block([*before, *commands.training(network, recipe, folder, weights)]))
    later = [make(network, recipe, folder) for make in (commands.scoring, commands.using, commands.exporting)]
    parts += ["## Score, use and export", _block(later)]
    parts += ["## Other Caffes", _OTHERS, "\n".join(readers_table(files))]
    if network.measured and recipe == network.recipe:
        parts += ["## Measured", network.measured.rstrip()]
    return "\n\n".join(part for part in parts if part) + "\n"


def count(number: float) -> str:
    """Multiply-accumulates for people: 4.614 G, 568.740 M."""
    return f"{number / 1e9:.3f} G" if number >= 1e9 else f"{number / 1e6:.3f} M"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _table(network: Network) -> str:
    published = network.recipe
    size = f"{published.width}x{published.height}"
    lines = [f"| files | what | learned parameters | MACs at {size} |", "|---|---|---|---|"]
    for stage in network.stages:
        files = f"`*{stage.suffix}.prototxt`" if len(network.stages) > 1 else "`*.prototxt`"
        if not stage.suffix and len(network.stages) > 1:
            files = "the others"
        lines.append(f"| {files} | {stage.what} | {stage.parameters:,} | {count(stage.macs)} |")
    return "\n".join(lines)


def _files(network: Network, recipe: Recipe) -> str:
    classes = (
        "" if recipe.classes == network.recipe.classes else f" (of the published {network.recipe.classes} classes)"
    )
    sources = " and ".join(f"`{source.path}`" for source in (recipe.train, recipe.val))
    each = "Each stage has" if len(network.stages) > 1 else "The files are"
    return _wrapped(
        f"{each} `solver`, `train_val` (reads {sources}) and `deploy` (pictures of {recipe.width}x{recipe.height}, "
        f"{recipe.classes} classes). The numbers are those of one picture{classes}."
    )


def _reading(network: Network, recipe: Recipe) -> str:
    text = ""
    if not (recipe.train.lmdb and recipe.val.lmdb):
        text = _LISTS[network.task]
    if recipe.crop and network.task == "segmentation":
        text += f" Pictures must be at least {recipe.crop} pixels high and wide, the size of the training crops."
    return text.strip()


def _notes(network: Network, recipe: Recipe) -> list[str]:
    """The paragraphs on the training; of other data without how the published one is prepared (commands)."""
    notes = network.notes.split("\n\n") if network.notes else []
    if recipe.train == network.recipe.train:
        return notes
    return [note for note in notes if not note.startswith("    ") and not note.endswith(":")]


def _block(lines: list[Command]) -> str:
    return "\n".join("    caffecompat " + " \\\n        ".join(command) for command in lines)
