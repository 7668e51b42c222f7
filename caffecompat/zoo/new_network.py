"""A folder with one of the zoo's networks for a user's own data."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from caffecompat.arguments import as_count, as_size
from caffecompat.errors import CaffeCompatError
from caffecompat.formats.archives import ARCHIVES, as_layers, read_archive
from caffecompat.formats.atomic import WriteError, atomic_together, make_folder, protects
from caffecompat.formats.shards import names_several
from caffecompat.wording import did_you_mean
from caffecompat.zoo import NETWORKS, Network, Recipe, commands, network_files
from caffecompat.zoo.user_classes import choose_classes
from caffecompat.zoo.user_data import OnProgress, UserData, open_stored
from caffecompat.zoo.user_lists import open_annotated, open_list
from caffecompat.zoo.user_recipe import Wishes, measured, user_recipe

__all__ = ["NewNetwork", "new_network"]

PathLike = str | os.PathLike[str]
_WEIGHTS = "backbone.caffemodel"
_OF_TORCH = (".pt", ".pth", ".bin")


@dataclass(frozen=True)
class NewNetwork:
    """What was written.

    Attributes:
        files: by name.
        recipe: what was decided.
        commands: to run next, from the current directory: build databases where there are lists alone, train, score,
            export.
        notes: what to know of it, a line each.
    """

    folder: str
    files: tuple[str, ...]
    recipe: Recipe
    commands: tuple[str, ...]
    notes: tuple[str, ...]


@protects("train", "val", "labels", "weights")
def new_network(
    network: str,
    folder: PathLike,
    *,
    classes: int | None = None,
    size: tuple[int, int] | None = None,
    crop: int | None = None,
    batch: int | None = None,
    train: PathLike | None = None,
    val: PathLike | None = None,
    root_folder: str = "",
    labels: PathLike | None = None,
    weights: PathLike | None = None,
    swap_colors: bool = True,
    measure_mean: bool = False,
    force: bool = False,
    on_progress: OnProgress = lambda what, done, total: None,
) -> NewNetwork:
    """Write a folder that trains, scores and exports a network of the zoo: solver, train_val, deploy, README, labels.

    Paths in the files are as given here: from the current directory, where the commands are to be run, as in Caffe.

    Args:
        network: its name in the zoo.
        folder: to write, made if absent.
        classes: of a detection network the background among them, as Caffe's num_classes; by default what the names of
            the classes say, or else the labels.
        size: (height, width) of the deployed input in pixels; by default the published one.
        crop: side of the squares that training cuts out of the pictures; 0: whole pictures.
        batch: pictures a batch; as many batches are taken together as make the published number (`iter_size`).
        train, val: a list ('picture class', 'picture label-picture', 'picture annotation-file'), or databases (LMDB or
            LevelDB; shards; a pattern). Without `val` tests read the pictures to train on.
        root_folder: put before the paths of lists as it is.
        labels: names of the classes, a line each, or a label map; by default those next to the data.
        weights: to start from: a torch state_dict, whose layers are guessed, or a file of a net's layers.
        swap_colors: a torch state_dict takes R, G, B, so reverse its first convolution's inputs.
        measure_mean: measure mean and standard deviation of the channels, instead of taking the published ones.
        force: write over files of a folder that is not empty.
        on_progress: called with what is done, how much of it, of how much.

    Raises:
        CaffeCompatError: there is no such network, the data does not suit it, or it cannot be of that size.
        WriteError: the folder is not empty, or cannot be written.

    >>> import caffecompat
    >>> made = caffecompat.new_network("lenet", "digits", train="list.txt", classes=2, batch=2)
    >>> sorted(made.files)
    ['README.md', 'deploy.prototxt', 'labels.txt', 'solver.prototxt', 'train_val.prototxt']
    >>> made.commands[0]
    'caffecompat train --solver digits/solver.prototxt'
    """
    chosen = _network(network)
    target = _empty_folder(folder, force)
    wishes = Wishes(as_size(size), as_count(crop, "crop", 0), as_count(batch, "batch"))
    if val and not train:
        raise CaffeCompatError("pictures to test with (--val) need some to train on (--train)")
    notes: list[str] = []
    names = os.fspath(labels) if labels else ""
    sets = {"train": train, "val": val}
    data = {name: _data(chosen, os.fspath(path), f"{target}/{name}_lmdb", root_folder, names)
            for name, path in sets.items() if path}  # fmt: skip
    found = choose_classes(
        chosen.task, as_count(classes, "classes"), names, data.get("train"), notes.append, on_progress
    )
    if "train" in data and "val" not in data:
        notes.append("no pictures to test with (--val): tests read those to train on, whose scores say little")
    elif not data:
        notes.append("no data yet: write its paths into train_val*.prototxt where the placeholders data/... are")
    recipe = user_recipe(
        chosen, found.count, wishes, data.get("train"), data.get("val", data.get("train")), notes.append
    )
    path = f"{target}/{found.file}"
    has_map = chosen.task == "detection"
    recipe = replace(
        recipe, snapshot_folder=f"{target}/", labels="" if has_map else path, label_map=path if has_map else ""
    )
    if measure_mean:
        recipe = _measured(recipe, data.get("train"), notes, on_progress)
    start = f"{target}/{_WEIGHTS}" if weights else ""
    before = list(_builds(sets, data, recipe))
    files = network_files(chosen, recipe, target, weights=start, before=before)
    files[found.file] = found.text
    with _written_together(target) as staging:
        for name, text in files.items():
            (staging / name).write_text(text, encoding="utf-8")
        if weights:
            notes += _converted(chosen, os.fspath(weights), staging, target, swap_colors)
        written = tuple(sorted(path.name for path in staging.iterdir()))
    steps = [*before, *commands.training(chosen, recipe, target, start)]
    steps += [commands.scoring(chosen, recipe, target), commands.exporting(chosen, recipe, target)]
    return NewNetwork(target, written, recipe, tuple(map(commands.one_line, steps)), tuple(notes))


def _network(name: str) -> Network:
    if name not in NETWORKS:
        known = f"; there are {', '.join(sorted(NETWORKS))}"
        raise CaffeCompatError(f"the zoo has no network {name!r}{did_you_mean(name, NETWORKS) or known}")
    return NETWORKS[name]


def _empty_folder(folder: PathLike, force: bool) -> str:
    target = os.fspath(folder).rstrip("/") or "/"
    if os.path.lexists(target) and not os.path.isdir(target):
        raise WriteError(f"{target}: expected a folder, this is a file; choose another name")
    if os.path.isdir(target) and os.listdir(target) and not force:
        raise WriteError(f"{target} is not empty; choose another folder, or say --force")
    return target


def _data(network: Network, path: str, built: str, root: str, labels: str) -> UserData:
    if os.path.isdir(path) or names_several(path):
        return open_stored(path, network.task)
    if network.task == "detection":
        return open_annotated(path, built, root, labels)
    return open_list(path, network.task, root if root.endswith("/") or not root else f"{root}/")


def _measured(recipe: Recipe, data: UserData | None, notes: list[str], on_progress: OnProgress) -> Recipe:
    if data is None:
        raise CaffeCompatError("a mean can be measured of the pictures to train on alone (--train)")
    color = recipe.color if recipe.channels == 3 else recipe.channels != 1 and None
    found = data.measured(color, on_progress)
    shown = [", ".join(f"{value:.3f}" for value in values) for values in (found.mean, found.std)]
    recipe = measured(recipe, found)
    used = "" if recipe.std or recipe.scale != 1 else "; the network's input is not divided by the latter, as published"
    notes.append(f"mean {shown[0]} and standard deviation {shown[1]} of {found.pictures:,} pictures{used}")
    return recipe


def _converted(network: Network, weights: str, staging: Path, target: str, swap_colors: bool) -> list[str]:
    """Write the weights for the first stage's net; says what landed."""
    from caffecompat.deploy.convert_weights import convert_weights

    model = staging / f"deploy{network.stages[0].suffix}.prototxt"
    lines: list[str] = []
    swaps = swap_colors and _is_of_torch(weights)
    done = convert_weights(
        weights, staging / _WEIGHTS, model=model, accept_guess=True, allow_missing=True, swap_colors=swaps,
        on_note=lines.append,
    )  # fmt: skip
    told = [line for line in lines if not line.startswith("no weights for")]
    layers = f"{done.layers} layers, {done.values:,} values"
    notes = [*told, f"{target}/{_WEIGHTS} has of {weights}: {layers}"]
    if done.missing:
        notes.append(f"these start from their fillers: {', '.join(done.missing)}")
    if swaps:
        notes.append("the first convolution's inputs are reversed: torch's weights take R, G, B (else --noswap-colors)")
    return [note.replace(str(staging), target) for note in notes]


def _is_of_torch(path: str) -> bool:
    """Whether a file holds a torch state_dict rather than a net's layers."""
    return path.endswith(_OF_TORCH) or (path.endswith(ARCHIVES) and as_layers(read_archive(path)) is None)


def _builds(sets: dict[str, PathLike | None], data: dict[str, UserData], recipe: Recipe) -> Iterator[commands.Command]:
    """The databases of lists that a network does not read itself."""
    for name, found in data.items():
        path = os.fspath(sets[name] or "")
        if found.source.lmdb and not os.path.isdir(path) and not names_several(path):
            root = found.source.root_folder
            more = ["--root", root.rstrip("/") or "/"] if root else []
            more += ["--shuffle"] if name == "train" else []
            words = [path, found.source.path, "--labelmap", recipe.label_map, *more]
            yield [f"lmdb build {shlex.join(words)}"]


@contextmanager
def _written_together(target: str) -> Iterator[Path]:
    """A folder to write to, whose files are the target's when the block ends without an exception: all or none."""
    place = target if os.path.isdir(target) else os.path.dirname(os.path.abspath(target))
    make_folder(place)
    try:
        with tempfile.TemporaryDirectory(prefix=".new.", suffix=".tmp", dir=place) as made:
            staging = Path(made, "files")
            staging.mkdir()
            yield staging
            if not os.path.lexists(target):
                os.replace(staging, target)
                return
            names = sorted(path.name for path in staging.iterdir())
            with atomic_together(*(os.path.join(target, name) for name in names)) as temporaries:
                for name, temporary in zip(names, temporaries, strict=True):
                    shutil.copyfile(staging / name, temporary)
    except OSError as problem:
        raise WriteError(f"{target}: cannot be written: {problem.strerror or problem}") from None
