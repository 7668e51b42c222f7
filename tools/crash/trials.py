"""Runs that are disturbed otherwise than by a kill, and whether they end as they should.

A run ends with status 0 and all its snapshots; or with status 1, a message, and a snapshot of what it had learned, in
another folder where need be. No file of a snapshot is half written, and --resume auto goes on from what there is.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import operations
from lives import Life, live
from runs import Undisturbed, iterations, leftovers, newest, newest_problems
from scenarios import TRAIN, Scenario

__all__ = ["Trials"]

_ELSEWHERE = re.compile(r"The snapshot is in another folder: (.+)")


class Trials:
    """Disturbed runs of one scenario.

    Args:
        scenario: what is run, with its snapshots in the folder ``snapshots``.
        at: a folder to work in.

    Attributes:
        undisturbed: a run with a snapshot after every iteration.
        operations: what an undisturbed run does to files, with a snapshot after every third iteration.
        outcomes: how the runs ended, by kind of disturbance.
        problems: what was not as it should be.
    """

    ITERATIONS = 6  # the last of which a periodic snapshot follows

    def __init__(self, scenario: Scenario, at: Path) -> None:
        self._at = at
        self._counter = operations.Counter()
        self._source = at / "files"
        (self._source / "snapshots").mkdir(parents=True)
        (at / "home").mkdir()
        scenario.write(self._source, self.ITERATIONS, "snapshots/run")
        every = self._copy("every")
        life = self._live((*TRAIN, "--set", "snapshot=1"), every, None)
        self.undisturbed = Undisturbed.of(life.log, every / "snapshots", life.seconds)
        plain = self._copy("plain")
        life = self._live(TRAIN, plain, lambda: operations.record(at / "operations"))
        self.operations = operations.read_record(at / "operations")
        self._due = set(Undisturbed.of(life.log, plain / "snapshots", life.seconds).files)
        self.outcomes: dict[str, Counter[str]] = {}
        self.problems: list[str] = []

    def _copy(self, name: str) -> Path:
        shutil.rmtree(self._at / name, ignore_errors=True)
        return Path(shutil.copytree(self._source, self._at / name))

    def _live(self, words: tuple[str, ...], folder: Path, act: Callable[[], operations.Act] | None) -> Life:
        self._counter.value = 0

        def begin() -> None:
            os.environ["HOME"] = str(self._at / "home")  # one of the places where a last snapshot may go
            if act is not None:
                operations.install(self._counter, act())

        return live(words, folder, before=begin)

    def fresh(self) -> Path:
        """The folder in which the next run will be, without anything of the last one."""
        return self._copy("run")

    def run(
        self,
        kind: str,
        disturbance: Callable[[], operations.Act],
        *,
        where: str,
        log: bool = True,
        may_go: str = "",
        changes_data: bool = False,
        relief: Callable[[], object] = lambda: None,
    ) -> None:
        """One run in the folder `fresh`, and its judgement.

        Args:
            kind: under which its outcome counts.
            disturbance: makes, in the process, what happens to it.
            where: for messages: at which operation.
            log: what it says can be read.
            may_go: what of the run's folder may be gone at the end: "snapshots", or "all".
            changes_data: there is no data to go on with.
            relief: makes that a resumed run can go on.
        """
        folder = self._at / "run"
        life = self._live(TRAIN, folder, disturbance)
        outcome, problems = self._judged(life, folder, log=log, may_go=may_go)
        self.outcomes.setdefault(kind, Counter())[outcome] += 1
        if not problems and not may_go and not changes_data and life.status != 2:
            relief()
            problems = self._resumed(folder)
        self.problems += [f"{kind} at {where}: {problem}" for problem in problems]

    def _judged(self, life: Life, folder: Path, *, log: bool, may_go: str) -> tuple[str, list[str]]:
        snapshots = folder / "snapshots"
        if life.hung or life.status not in (0, 1, 2) or "Traceback" in life.log:
            last = life.log.strip().rpartition("\n")[2]
            return "bad", [f"status {life.status}{', after a hang' * life.hung}: {last}"]
        problems = self.undisturbed.different_lines(life.log, killed=True)
        if snapshots.is_dir():
            problems += self.undisturbed.different_files(snapshots) + newest_problems(snapshots)
            problems += [f"{name} is left" for name in leftovers(snapshots)]
        if life.status == 0:
            lost = [] if may_go else [name for name in sorted(self._due) if not (snapshots / name).exists()]
            return "ends well", problems + [f"status 0, and {name} is missing" for name in lost]
        if log and not re.search(r"^error: .", life.log, re.MULTILINE):
            problems.append("ends without a message")
        elsewhere = _ELSEWHERE.search(life.log)
        if elsewhere:
            return "1, the snapshot elsewhere", problems + self._elsewhere(folder / elsewhere[1])
        if life.status == 2:
            trained = max(iterations(life.log), default=0) > 0
            return "2, nothing learned", problems + ["status 2 after training"] * trained
        if "nor could it be in any other folder" in life.log:
            return "1, no room anywhere", problems
        reached = max(iterations(life.log), default=0)
        state = newest(snapshots) if snapshots.is_dir() else None
        number = int(re.findall(r"_iter_(\d+)", state.name)[0]) if state else 0
        if log and reached and number < reached:
            problems.append(f"the newest snapshot is of iteration {number}, the run came to {reached}")
        return "1, with its snapshot", problems

    def _elsewhere(self, state: Path) -> list[str]:
        """What is wrong with a snapshot in another folder."""
        problems = [] if state.exists() else [f"there is no {state}"]
        for path in state.parent.glob("run_iter_*"):
            if ".solverstate" not in path.name and path.read_bytes() != self.undisturbed.files.get(path.name):
                problems.append(f"{path} is not that of the undisturbed run")
        return problems + newest_problems(state.parent)

    def _resumed(self, folder: Path) -> list[str]:
        """What is wrong with the rest of the run."""
        life = self._live(TRAIN, folder, None)
        snapshots = folder / "snapshots"
        last = [name for name in self._due if f"_iter_{self.ITERATIONS}." in name]
        return [
            *([f"resumed, ends with status {life.status}"] if life.status else []),
            *self.undisturbed.different_lines(life.log),
            *self.undisturbed.different_files(snapshots),
            *(f"resumed, {name} is missing" for name in last if not (snapshots / name).exists()),
        ]

    def report(self) -> None:
        """Print the outcomes, and the first problems."""
        for kind, outcomes in self.outcomes.items():
            print(f"    {kind:<24}" + ", ".join(f"{outcome}: {count}" for outcome, count in sorted(outcomes.items())))
        for problem in self.problems[:20]:
            print(f"    BAD {problem}", flush=True)
