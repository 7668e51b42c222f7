"""Kill training runs with SIGKILL at random moments, and see whether what goes on is the very run.

    python tools/crash/crash.py --kills 1000 --seed 1
    python tools/crash/crash.py --kills 50 --folder lenet -- \\
        python -m caffecompat train --solver solver.prototxt --resume auto

The command is the part after ``--``; it is started again and again until it ends by itself. It runs in a copy of
--folder (the current one), which holds all it reads and, under a relative snapshot_prefix, its snapshots. A command
that begins with ``caffecompat`` is forked from this process, which takes a tenth of the time and lets half the kills
come at exactly one of its file operations, most of which are in the middle of a snapshot; other commands, and the
processes that they start, are killed by the clock. Without a command all of scenarios.py are run.

Where a command that begins with ``caffecompat`` trains in several processes (--processes), one of them or the launcher
is killed, and the others must end by themselves within 30 seconds.

After each kill the newest snapshot must load, with its solver state and its .resume file, and all snapshots must have
the bytes of those of an undisturbed run. So must the lines of the log, iteration by iteration, and the files at the
end. The exit status is 1 where something does not.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import operations
from lives import Life, live, warm_up
from runs import Undisturbed, leftovers, newest, newest_problems, remarks
from scenarios import SCENARIOS, TOGETHER
from together import Group

__all__ = ["Crashes"]

Start = Callable[[], Life]


class Crashes:
    """Runs of one command that are killed, and what was seen of them.

    Args:
        words: the command.
        folder: what it runs in a copy of.
        at: a folder for those copies.
        generator: draws the moments.

    Attributes:
        counts: kills, and among them those "before a snapshot" and those "in a snapshot"; runs; "resumed" lives.
        problems: what was not as it should be.
    """

    def __init__(self, words: Sequence[str], folder: Path, at: Path, generator: random.Random) -> None:
        self._words, self._source, self._at, self._random = words, folder, at, generator
        several = words[0] == "caffecompat" and "--processes" in words
        self._group = Group(int(words[words.index("--processes") + 1])) if several else None
        self._counter = operations.Counter()
        self._operations = 0
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self._undisturbed = self._run_undisturbed()

    def _copy(self, name: str) -> Path:
        folder = self._at / name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self._source, folder)
        return folder

    def _run_undisturbed(self) -> Undisturbed:
        folder = self._copy("undisturbed")
        life = self._live(folder, before=lambda: operations.install(self._counter))
        if life.status:
            raise SystemExit(f"the undisturbed run ends with status {life.status}:\n{life.log[-2000:]}")
        self._operations = self._counter.value
        self.problems += newest_problems(folder)
        undisturbed = Undisturbed.of(life.log, folder, life.seconds)
        if not undisturbed.files:
            raise SystemExit("the undisturbed run leaves no snapshots in its folder")
        return undisturbed

    def kill(self, kills: int) -> None:
        """Run and kill until there were that many kills, and the last run has ended."""
        while self.counts["kills"] < kills and not self.problems:
            self._one_run(kills)

    def _one_run(self, kills: int) -> None:
        folder = self._copy("killed")
        self.counts["runs"] += 1
        while True:
            resumed = newest(folder)
            life = self._one_life(folder, to_death=self.counts["kills"] < kills)
            self.counts["resumed"] += resumed is not None
            self._check(life, folder)
            if not life.killed or self.problems:
                return
            self.counts["kills"] += 1
            self.counts["before a snapshot"] += newest(folder) is None
            self.counts["in a snapshot"] += any(name.endswith(".tmp") for name in leftovers(folder))

    def _one_life(self, folder: Path, *, to_death: bool) -> Life:
        if not to_death:
            return self._live(folder)
        group, victim = self._group, None if self._group is None else self._random.choice(self._group.numbers)
        if self._operations and self._random.random() < 0.5:
            at = self._random.randint(1, self._operations)
            act = operations.kill(at)
            if group is not None and victim is not None:
                act = operations.do(at, lambda number=victim: group.kill(number))  # type: ignore[misc]
            self._counter.value = 0
            return self._live(folder, victim=victim, before=lambda: operations.install(self._counter, act))
        return self._live(folder, victim=victim, kill_after=self._random.uniform(0, self._undisturbed.seconds))

    def _live(self, folder: Path, *, victim: int | None = None, **how: Any) -> Life:
        if self._group is None:
            return live(self._words, folder, **how)
        return self._group.live(self._words, folder, victim=victim, **how)

    def _check(self, life: Life, folder: Path) -> None:
        undisturbed, killed = self._undisturbed, life.killed
        problems = newest_problems(folder) + undisturbed.different_files(folder)
        problems += undisturbed.different_lines(life.log, killed=killed)
        said = [text for text in remarks(life.log) if not (killed and text.startswith("An error ends the run"))]
        problems += [f"the log says: {text}" for text in said if text not in undisturbed.remarks]
        problems += [f"process {number} does not end when another one is killed" for number in life.left]
        if not killed:
            problems += [f"ends with status {life.status}"] if life.status or life.hung else []
            problems += undisturbed.different_ends(folder)
            problems += [f"{name} is left" for name in leftovers(folder)]
        self.problems += problems


def _report(name: str, crashes: Crashes, seconds: float) -> None:
    counts = crashes.counts
    print(
        f"{name:<44} {counts['kills']:5} kills, {counts['in a snapshot']:4} in a snapshot, "
        f"{counts['before a snapshot']:4} before the first; {counts['resumed']:5} times resumed in "
        f"{counts['runs']:4} runs; {seconds:6.1f} s  {'BAD' if crashes.problems else 'bit-equal'}",
        flush=True,
    )
    for problem in crashes.problems[:10]:
        print(f"    {problem}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("."), help="what the command runs in a copy of")
    parser.add_argument("--only", default="", metavar="TEXT", help="scenarios with this in their names")
    parser.add_argument("--keep", type=Path, help="work in this folder, and leave what was made")
    parser.add_argument("command", nargs="*")
    args = parser.parse_args()
    warm_up()
    work = args.keep or Path(tempfile.mkdtemp(prefix="crash"))
    try:
        return _all(args, work)
    finally:
        if not args.keep:
            shutil.rmtree(work, ignore_errors=True)


def _all(args: argparse.Namespace, work: Path) -> int:
    generator = random.Random(args.seed)
    chosen = [scenario for scenario in (*SCENARIOS, *TOGETHER) if args.only in scenario.name]
    names = [" ".join(args.command)] if args.command else [scenario.name for scenario in chosen]
    total: Counter[str] = Counter()
    bad, begin = 0, time.perf_counter()
    for number, name in enumerate(names):
        start = time.perf_counter()
        folder = args.folder
        at = work / str(number)
        at.mkdir(parents=True)
        if not args.command:
            folder = at / "files"
            folder.mkdir()
            chosen[number].write(folder)
        crashes = Crashes(args.command or chosen[number].words, folder, at, generator)
        crashes.kill(args.kills * (number + 1) // len(names) - args.kills * number // len(names))
        _report(name, crashes, time.perf_counter() - start)
        total += crashes.counts
        bad += bool(crashes.problems)
        if not args.keep:
            shutil.rmtree(at)
    print(
        f"{total['kills']} kills, {total['in a snapshot']} of them in a snapshot; {total['resumed']} times resumed in "
        f"{total['runs']} runs; {time.perf_counter() - begin:.0f} s; {bad} of {len(names)} bad"
    )
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
