"""The damaged input of a number: a copy of a sound file or folder with one thing wrong."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import formats
from mutators import TEXT_MUTATORS, Mutator, change_word, drop_line, mutate
from prototxt import PROTOTXT, SMALL_PROTOTXT
from wire import RESUME, SAFETENSORS, WIRE

__all__ = ["copied", "damaged", "knowing"]

_COMMAND: tuple[Mutator, ...] = (change_word, drop_line)  # no path of a command may leave its folder
_BY_NAME: tuple[tuple[str, tuple[Mutator, ...]], ...] = (
    (r".*\.(caffemodel|solverstate|binaryproto)", WIRE),
    (r".*\.resume", RESUME),
    (r".*\.safetensors", SAFETENSORS),
    (r".*\.(npz|pth|pt)", formats.ZIP),
    (r".*\.npy", formats.NPY * 4),
    (r".*\.png", formats.PNG),
    (r"data\.mdb", formats.LMDB),
    (r".*\.ldb|MANIFEST-.*|\d+\.log", formats.LEVELDB),
    (r".*\.(log|txt|json|xml|csv|proto)", TEXT_MUTATORS * 2),
)


def knowing(name: str, *, runs: bool = False) -> tuple[Mutator, ...]:
    """The mutators that know the format of a file of that name; those for nets that are run keep sizes small."""
    if name.endswith(".prototxt"):
        return SMALL_PROTOTXT if runs else PROTOTXT
    return next((mutators for pattern, mutators in _BY_NAME if re.fullmatch(pattern, name)), ())


def copied(original: Path, folder: Path) -> Path:
    """A sound file or folder under the name that its damaged copies have."""
    target = folder / f"x_{original.name}"
    if original.is_file():
        shutil.copyfile(original, target)
    else:
        shutil.copytree(original, target)
    return target


def damaged(original: Path, folder: Path, generator: random.Random, mutators: Sequence[Mutator], runs: bool) -> Path:
    """Make the input in a folder.

    Args:
        original: a sound file, or a folder of files that belong together.
        mutators: that know the format; none: those that the name of the file asks for.
        runs: the input is a net that is run.
    """
    target = folder / f"x_{original.name}"
    if original.is_file():
        _damage(original, target, generator, mutators, runs)
        return target
    shutil.copytree(original, target)
    files = sorted(path for path in target.rglob("*") if path.is_file() and not path.name.startswith("LOG"))
    victim = generator.choice([path for path in files if path.stat().st_size])
    if generator.random() < 0.06 and victim.name != "command":
        _damage_folder(victim, files, generator)
    else:
        _damage(victim, victim, generator, mutators, runs)
    return target


def _damage(source: Path, target: Path, generator: random.Random, mutators: Sequence[Mutator], runs: bool) -> None:
    data = source.read_bytes()
    if source.name == "command":
        target.write_bytes(generator.choice(_COMMAND)(data, generator).replace(b"\0", b"\x01"))  # no shell passes a NUL
        return
    chosen = tuple(mutators) or knowing(source.name, runs=runs)
    if source.suffix == ".prototxt" and generator.random() < 0.8:  # bytes at random say little of a text
        for _ in range(generator.choice((1, 1, 2, 3, 5))):
            data = generator.choice(chosen)(data, generator)
        target.write_bytes(data)
        return
    target.write_bytes(mutate(data, generator, chosen))


def _damage_folder(victim: Path, files: list[Path], generator: random.Random) -> None:
    """What happens to a file as a whole: gone, empty, another's content or name, a folder, a link to itself."""
    which = generator.randrange(7)
    if which == 0:
        victim.unlink()
    elif which == 1:
        victim.write_bytes(b"")
    elif which == 2:
        victim.write_bytes(generator.choice(files).read_bytes())
    elif which == 3:
        numbers = list(re.finditer(r"\d+", victim.name))
        if numbers:
            number = generator.choice(numbers)
            other = generator.choice(("", "0", "1", "2", "_", "9" * 25, "٣", "x"))
            victim.rename(victim.with_name(victim.name[: number.start()] + other + victim.name[number.end() :]))
    elif which == 4:
        victim.unlink()
        victim.mkdir()
    elif which == 5:
        victim.unlink()
        victim.symlink_to(victim.name)
    else:
        victim.rename(victim.with_name(victim.name + ".bak"))
