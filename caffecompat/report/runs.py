"""Training runs found from what is left of them: logs, snapshots, and the solver and nets that a log repeats."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from google.protobuf.message import Message

from caffecompat.errors import CaffeCompatError
from caffecompat.report.log_parser import LogError, TrainingLog, parse_lines, read_log_lines
from caffecompat.schema import NetDocument, pb
from caffecompat.schema.detect import choose_fork
from caffecompat.schema.problems import SourceLocations, Text
from caffecompat.schema.text_reader import read_text
from caffecompat.solver.snapshot_files import weight_snapshots

__all__ = ["Run", "find_runs", "find_snapshots", "log_of_lines"]

_LINE = re.compile(r"[IWEF](\d{4,8} \d\d:\d\d:\d\d)[.\d]* +\d+ [^ ]+:\d+\] ?(.*)")  # glog's, with its date and its text
_SOLVER, _NET = "Initializing solver from parameters:", "Initializing net from parameters:"
_COMMAND, _VERSIONS, _NVCAFFE = "Command: ", "Versions: ", "This is NVCaffe"
_TOLD = re.compile(r"\] (Command: |Versions: |This is NVCaffe|Snapshotting to |Optimization Done|Solving )")
_HEAD = 20_000  # letters of a log that show whose it is

Kind = TypeVar("Kind", bound=Message)


@dataclass
class Run:
    """One training.

    Attributes:
        name: what it is called on a page.
        log: what its log(s) say; None where there is none.
        paths: of the logs.
        solver: as the log repeats it; None where it does not.
        nets: of TRAIN, then TEST, the texts that the log repeats; "" where it does not (`net` has the file's then).
        snapshots: (iteration, path) of the weights.
        base: the folder that relative paths of the training lead from, as far as it can be seen.
        written: names of the files of weights that the log says were written, without their folders.
    command, versions: what was called, and of what; "" where the log does not say.
        started, ended: the times of the first and the last line as the log writes them.
        finished: whether the log says that the training is done.
    """

    name: str
    log: TrainingLog | None = None
    paths: list[str] = field(default_factory=list)
    solver: pb.SolverParameter | None = None
    nets: tuple[str, str] = ("", "")
    snapshots: list[tuple[int, str]] = field(default_factory=list)
    base: str = ""
    written: set[str] = field(default_factory=set)
    command: str = ""
    versions: str = ""
    started: str = ""
    ended: str = ""
    finished: bool = False

    def net(self, phase: int) -> NetDocument | None:
        """The net that was trained (0) or tested (1): as the log repeats it, or of the file that the solver names.

        None where neither is there whole.
        """
        text = self.nets[phase] or self._net_file(phase)
        message = _parsed(text, pb.NetParameter()) if text else None
        if message is None:
            return None
        name = f"the net of {self.name}"
        fork = choose_fork(message, SourceLocations(name))  # which the log has said already
        return NetDocument.from_message(message, name, like=fork, relative_to=os.path.join(self.base, "net.prototxt"))

    def _net_file(self, phase: int) -> str:
        """The text of the net's file, where its name leads from here, or where it lies beside the log."""
        if self.solver is None:
            return ""
        own = self.solver.test_net[0] if phase and self.solver.test_net else self.solver.train_net if not phase else ""
        name = own or self.solver.net
        near = [os.path.join(os.path.dirname(path), os.path.basename(name)) for path in self.paths]
        for path in (os.path.join(self.base, name), *near) if name else ():
            if os.path.isfile(path):
                with open(path, encoding="utf-8", errors="replace") as file:
                    return file.read()
        return ""


def _refuse(path: str, problem: CaffeCompatError) -> None:
    raise problem


def find_runs(given: Iterable[str], on_problem: Callable[[str, CaffeCompatError], None] = _refuse) -> list[Run]:
    """The runs of logs and prefixes of snapshots.

    The snapshots of a log's run are those of the snapshot_prefix in it; the logs of a prefix are those near it in which
    that prefix is. Logs that say nothing of their solver have no snapshots.

    Args:
        on_problem: called with what is neither, or cannot be read; where it does not raise, that is left out.

    Raises:
        CaffeCompatError: one is neither.
    """
    paths = list(given)
    runs: list[Run] = []
    for path, name in zip(paths, _names(paths), strict=True):
        try:
            runs.append(_of_log(path, name) if os.path.isfile(path) else _of_prefix(path, name))
        except CaffeCompatError as problem:
            on_problem(path, problem)
    return runs


def _of_log(path: str, name: str) -> Run:
    run = log_of_lines(read_log_lines(path), name)
    if run.log is None or not (run.log.train or run.log.test):
        raise LogError(
            f"{path} is no training log: no 'Iteration N' line with a loss or a test in it, nor is it a result in JSON "
            "(is it the stderr of `caffe train` or `caffecompat train`?)"
        )
    run.paths = [path]
    find_snapshots(run, path)
    return run


def _of_prefix(prefix: str, name: str) -> Run:
    snapshots = weight_snapshots(prefix)
    if not snapshots:
        raise CaffeCompatError(
            f"{prefix!r} is neither a log nor the prefix of snapshots: there is no {prefix}_iter_N.caffemodel"
        )
    logs = list(_logs_of(prefix))
    run = log_of_lines([line for log in logs for line in read_log_lines(log)], name)
    run.paths, run.snapshots = logs, snapshots
    run.base = _base(run.solver.snapshot_prefix if run.solver else "", prefix)
    return run


def log_of_lines(lines: Sequence[str], name: str) -> Run:
    """A run from the lines of its log alone."""
    log = parse_lines(lines) if lines else None
    run = Run(name, log if log is not None and (log.train or log.test) else None)
    nets: list[str] = []
    for title, text in _repeated(lines):
        if title == _SOLVER:
            run.solver, nets = _parsed(text, pb.SolverParameter()), []
        else:
            nets.append(text)
    run.nets = (nets[0] if nets else "", nets[1] if len(nets) > 1 else "")
    times = [found[1] for found in map(_LINE.search, (*lines[:200], *lines[-200:])) if found]
    run.started, run.ended = (times[0], times[-1]) if times else ("", "")
    for line in filter(_TOLD.search, lines):
        found = _LINE.search(line)
        if found and found[2].startswith(_COMMAND):
            run.command = found[2][len(_COMMAND) :].strip()
        elif found and found[2].startswith(_VERSIONS):
            run.versions = found[2][len(_VERSIONS) :].strip()
        elif found and found[2].startswith(_NVCAFFE):
            run.versions = found[2].removeprefix("This is ").partition(" started")[0].strip()
        elif found and found[2].startswith("Snapshotting to "):
            run.written.add(os.path.basename(found[2].partition(" file ")[2].strip()))
        elif found and found[2].startswith("Optimization Done"):
            run.finished = True
        elif found and found[2].startswith("Solving "):
            run.finished = False  # a later run in the same log
    return run


def _repeated(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The solvers and nets that Caffe repeats in its log, each with the title before it."""
    title, text = "", ""
    for line in lines:
        if not title and "Initializing" not in line:
            continue
        found = _LINE.search(line)
        if found is None:
            text += line if title else ""
            continue
        if title:
            yield title, text
        title = next((each for each in (_SOLVER, _NET) if found[2].startswith(each)), "")
        text = ""
    if title:
        yield title, text


def _parsed(text: str, message: Kind) -> Kind | None:
    """None for a text that is cut off, or of a fork that is not known; what is odd in it the log has said already."""
    return None if read_text(Text("<log>", text), message).problems else message


def find_snapshots(run: Run, log: str) -> None:
    """The snapshots that a log's run wrote, where its prefix leads from here or from near the log.

    Others may have the same prefix: where the log says what it wrote, those count.
    """
    if run.solver is None or not run.solver.snapshot_prefix:
        return
    folder = os.path.dirname(log)
    for base in dict.fromkeys(("", folder, os.path.dirname(os.path.abspath(folder or ".")))):
        found = weight_snapshots(os.path.join(base, run.solver.snapshot_prefix))
        if run.written:
            found = [(iteration, path) for iteration, path in found if os.path.basename(path) in run.written]
        if found:
            run.base, run.snapshots = base, found
            return


def _logs_of(prefix: str) -> Iterator[str]:
    """Logs near the snapshots of a prefix whose solver has that prefix, the oldest first."""
    folder = os.path.dirname(prefix)
    above = os.path.dirname(os.path.abspath(folder or "."))
    wanted = re.compile(rf'^snapshot_prefix: "(?:[^"]*/)?{re.escape(os.path.basename(prefix))}"', re.MULTILINE)
    places = dict.fromkeys(os.path.abspath(place or ".") for place in (folder, above, os.path.join(above, "logs"), ""))
    logs = [path for place in places for path in sorted(glob.glob(f"{glob.escape(place)}/*.log"))]
    found = {os.path.realpath(path): path for path in logs if wanted.search(_head(path))}
    yield from sorted((os.path.relpath(path) for path in found.values()), key=os.path.getmtime)


def _head(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_HEAD)
    except OSError:
        return ""


def _base(stated: str, given: str) -> str:
    """The folder from which a solver's snapshot_prefix leads to the one that was given."""
    return given[: -len(stated)].rstrip("/") if stated and given.endswith("/" + stated) else ""


def _names(paths: Sequence[str]) -> list[str]:
    """File names without their endings; with as much of their folders as makes them differ."""
    parts = [os.path.splitext(os.path.normpath(path))[0].split(os.sep) for path in paths]
    for count in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{path} ({number})" for number, path in enumerate(paths, 1)]
