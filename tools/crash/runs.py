"""What a run leaves, in its log and in its folder, compared with what an undisturbed one leaves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from caffecompat.errors import CaffeCompatError
from caffecompat.formats import open_weights
from caffecompat.formats.resume_file import read_resume, resume_name
from caffecompat.formats.solverstate import read_solverstate
from caffecompat.solver.snapshot_files import state_weights

__all__ = ["Undisturbed", "iterations", "leftovers", "newest", "newest_problems", "remarks", "snapshot_files"]

_LINE = re.compile(r"^([IWEF])\d{4} \S+ +\d+ \S+\] (.*)$")
_ITERATION = re.compile(r"Iteration (\d+)[ ,]")
_SPEED = re.compile(r" \([^ ]+ iter/s, [^ ]+ iters\)")
_SHOWN = re.compile(r"^(Iteration \d+[ ,]|(    )?T(rain|est) net output )")
_SNAPSHOT = re.compile(r"^[^.].*_iter_(\d+)\.(caffemodel|solverstate|resume)(\.h5)?$")
_BEST = re.compile(r"^[^.].*_best\.(caffemodel|solverstate|resume)(\.h5)?$")


def _lines(log: str) -> Iterator[tuple[str, str]]:
    """(severity, text) of a log's whole lines."""
    for line in log.splitlines(keepends=True):
        found = _LINE.match(line.rstrip("\n")) if line.endswith("\n") else None
        if found:
            yield found[1], found[2]


def iterations(log: str) -> dict[int, list[str]]:
    """What is displayed of each iteration: losses, rate, outputs, tests; without the speed."""
    found: dict[int, list[str]] = {}
    number = -1
    for _, text in _lines(log):
        text = _SPEED.sub("", text)
        if _SHOWN.match(text):
            match = _ITERATION.match(text)
            number = int(match[1]) if match else number
            found.setdefault(number, []).append(text)
    return found


def remarks(log: str) -> list[str]:
    """Warnings and errors of a log, and what is no line of one: a traceback.

    That there is nothing to train is what a run says that is resumed from its last snapshot.
    """
    of_log = [text for severity, text in _lines(log) if severity != "I" and not text.startswith("nothing to train")]
    return of_log + (["Traceback"] if "Traceback (most recent" in log else [])


def snapshot_files(folder: Path) -> dict[str, Path]:
    """The files of snapshots, by name."""
    return {path.name: path for path in sorted(folder.glob("*")) if _SNAPSHOT.match(path.name)}


def leftovers(folder: Path) -> list[str]:
    """Temporary files and locks, but for what a later run leaves alone for an hour: a lock that was never finished."""
    names = [path.name for path in folder.iterdir()]
    return [name for name in names if name.endswith((".tmp", ".lock")) and not name.endswith(".lock.tmp")]


def _best_files(folder: Path) -> dict[str, Path]:
    """The files of the best snapshot, which another one replaces, by name."""
    return {path.name: path for path in sorted(folder.glob("*")) if _BEST.match(path.name)}


def _number(name: str) -> int:
    """The iteration in the name of a snapshot's file."""
    match = _SNAPSHOT.match(name)
    assert match
    return int(match[1])


def newest(folder: Path) -> Path | None:
    """The solver state with the highest iteration."""
    states = [path for name, path in snapshot_files(folder).items() if ".solverstate" in name]
    return max(states, key=lambda path: _number(path.name), default=None)


def newest_problems(folder: Path) -> list[str]:
    """What is wrong with the newest snapshot and the best one.

    State, weights and .resume file must load and belong together.
    """
    states = [newest(folder), *(path for name, path in _best_files(folder).items() if ".solverstate" in name)]
    return [problem for path in states if path is not None for problem in _problems(path)]


def _problems(path: Path) -> list[str]:
    try:
        state = read_solverstate(str(path))
        for layer in open_weights(state_weights(state.learned_net, str(path))).layers:
            for blob in layer.blobs:
                if blob is not None:
                    blob.check()
        if read_resume(resume_name(str(path))).digest != state.resume:
            return [f"{path.name}: its .resume file belongs to another state"]
    except (CaffeCompatError, OSError) as problem:
        return [f"{path.name}: {problem}"]
    return []


@dataclass(frozen=True)
class Undisturbed:
    """What a run leaves that nobody disturbs.

    Attributes:
        shown: the lines of each iteration.
        remarks: warnings and errors.
        files: what is in the files of its snapshots, by name.
        best: and in those of the best one.
        seconds: how long it took.
    """

    shown: Mapping[int, list[str]]
    remarks: frozenset[str]
    files: Mapping[str, bytes]
    best: Mapping[str, bytes]
    seconds: float

    @classmethod
    def of(cls, log: str, folder: Path, seconds: float) -> Undisturbed:
        files, best = (
            {name: path.read_bytes() for name, path in found(folder).items()} for found in (snapshot_files, _best_files)
        )
        return cls(iterations(log), frozenset(remarks(log)), files, best, seconds)

    def different_lines(self, log: str, *, killed: bool = False) -> list[str]:
        """Lines of iterations that differ; the last iteration of a killed process may be cut short."""
        shown = iterations(log)
        last = max(shown, default=-1)
        problems = []
        for number, lines in shown.items():
            expected = self.shown.get(number, [])
            if killed and number == last:
                expected = expected[: len(lines)]
            if lines != expected:
                problems.append(f"iteration {number} shows {lines}, undisturbed {expected}")
        return problems

    def different_files(self, folder: Path) -> list[str]:
        """Files of snapshots whose bytes differ, and states without all that belongs to them.

        Snapshots before the undisturbed run's first are those that it has removed (snapshot_keep).
        """
        found = snapshot_files(folder)
        first = min(map(_number, self.files))
        problems = [
            f"{name} is not that of the undisturbed run"
            for name, path in found.items()
            if _number(name) >= first and path.read_bytes() != self.files.get(name)
        ]
        for state in [name for name in found if ".solverstate" in name]:
            missing = [name for name in self.files if _number(name) == _number(state) and name not in found]
            problems += [f"{state} is there without {name}" for name in missing]
        return problems

    def different_ends(self, folder: Path) -> list[str]:
        """What is not there, or should not be, after the run has come to its end."""
        found, best = snapshot_files(folder), _best_files(folder)
        return [
            *(f"{name} is missing" for name in self.files if name not in found),
            *(f"{name} is left" for name in found if name not in self.files),
            *(
                f"{name} is not that of the undisturbed run"
                for name, content in self.best.items()
                if name not in best or best[name].read_bytes() != content
            ),
        ]
