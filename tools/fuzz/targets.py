"""All that is fuzzed: readers of files, and verbs of the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mutators import Mutator
from net_readers import NET_READS
from readers import READERS
from verbs import VERBS, run_command

__all__ = ["TARGETS", "Target", "shared_out"]


class Target(NamedTuple):
    """One reader, or verb.

    Attributes:
        seeds: makes sound files, or folders of files that belong together, in a folder.
        read: reads one, sound or damaged.
        mutators: that know the format; none: those that the file's name asks for.
        share: how many inputs of a hundred thousand.
        command: a command line, which may run long (it ends when it is interrupted) and need memory.
    """

    seeds: Callable[[Path], list[Path]]
    read: Callable[[Path], object]
    mutators: tuple[Mutator, ...] = ()
    share: int = 1000
    command: bool = False


# Inputs of a hundred thousand; the quick readers of files get most of them.
_SHARES = {
    "lmdb": 300,
    "leveldb": 300,
    "leveldb_entries": 300,
    "datum": 400,
    "picture": 3000,
    "hdf5": 2500,
    "npy": 11000,
    "state": 5000,
    "annotations": 9000,
    "text": 9000,
    "net": 7000,
    "graph": 3000,
    "solver": 7000,
    "caffemodel": 9000,
    "hdf5 weights": 3000,
    "solverstate": 6000,
    "resume": 9000,
    "log": 3000,
    "traces": 3000,
    "video": 400,
    "proto": 60,
    "small text": 4000,
}
_SLOW_VERBS = {"verb plot": 10, "verb diff": 40, "verb export onnx": 40, "verb export torch": 60}
_VERB = 60

TARGETS: dict[str, Target] = {
    **{name: Target(reader.seeds, reader.read, reader.mutators) for name, reader in READERS.items()},
    **{name: Target(seeds, read) for name, (seeds, read) in NET_READS.items()},
    **{name: Target(seeds, run_command, share=_SLOW_VERBS.get(name, _VERB), command=True)
       for name, seeds in VERBS.items()},
}  # fmt: skip
TARGETS = {name: target._replace(share=_SHARES.get(name, target.share)) for name, target in TARGETS.items()}


def shared_out(names: list[str], inputs: int) -> dict[str, int]:
    """How many of that many inputs each target gets; together they are as many."""
    whole = sum(TARGETS[name].share for name in names)
    counts, given, seen = {}, 0, 0
    for name in names:
        seen += TARGETS[name].share
        counts[name] = inputs * seen // whole - given
        given += counts[name]
    return counts
