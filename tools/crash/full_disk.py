"""Let the disk be full at every single write of a training run, and see how the run ends.

    python tools/crash/full_disk.py
    python tools/crash/full_disk.py --only "lmdb, SGD" --every 7

A run of seven iterations that writes weights, states, .resume files, a lock and its log is repeated with the n-th of
its file operations failing with ENOSPC, for each n:

- once: this one alone fails;
- snapshots: from then on all fail in the snapshots' folder;
- everywhere: from then on all fail, except for the log;
- log: from then on the log's fail;

then with each size of the largest file (RLIMIT_FSIZE), and, where this process may mount a tmpfs, with the snapshots'
folder on disks of one page, two pages, and so on, and of each number of files. What a run may end with is in trials.py.
The exit status is 1 where one does not.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import operations
from lives import warm_up
from scenarios import SCENARIOS
from trials import Trials

__all__ = ["main"]


def _nowhere(operation: operations.Operation) -> bool:
    return not operation.is_of_log


def _in_snapshots(operation: operations.Operation) -> bool:
    return f"{os.sep}snapshots" in operation.path


def _of_log(operation: operations.Operation) -> bool:
    return operation.is_of_log


_KINDS = {"once": _nowhere, "snapshots": _in_snapshots, "everywhere": _nowhere, "log": _of_log}


def by_operation(trials: Trials, every: int) -> None:
    """Each kind at each operation that it concerns, or at every few of them."""
    for kind, concerns in _KINDS.items():
        for operation in [each for each in trials.operations if each.takes_space and concerns(each)][::every]:
            trials.fresh()
            trials.run(
                f"full, {kind}",
                lambda: operations.run_out_of_space(operation.number, concerns, once=kind == "once"),  # noqa: B023
                where=f"operation {operation.number}, {operation.kind} of {operation.path}",
            )


def by_size_of_files(trials: Trials, every: int) -> None:
    """Each size of a file that a snapshot has, a byte less, and half of that."""
    import resource

    sizes = {len(content) for content in trials.undisturbed.files.values()}
    for size in sorted({0, 1, *sizes, *(size - 1 for size in sizes), *(size // 2 for size in sizes)})[::every]:

        def limited() -> operations.Act:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))  # noqa: B023
            return lambda operation: None

        trials.fresh()
        trials.run("largest file", limited, where=f"{size} bytes", log=False)


def by_size_of_disk(trials: Trials, every: int) -> None:
    """Snapshots on a disk of so many pages, and with room for so many files, until both suffice."""
    pages = sum(-(-len(content) // 4096) for content in trials.undisturbed.files.values())
    for kind, options in (
        ("pages", [f"size={4096 * count}" for count in range(1, pages + 2)]),
        ("files", [f"nr_inodes={count}" for count in range(2, 20)]),
    ):
        for option in options[::every]:
            with _mounted(trials.fresh() / "snapshots", option) as enlarge:
                trials.run(f"disk of so many {kind}", lambda: lambda operation: None, where=option, relief=enlarge)


@contextlib.contextmanager
def _mounted(folder: Path, option: str) -> Iterator[Callable[[], object]]:
    """Gives a function that makes the disk big enough."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", option, "tmpfs", folder], check=True)
    words = ["mount", "-o", "remount,size=16m,nr_inodes=1000", str(folder)]
    try:
        yield lambda: subprocess.run(words, check=True)
    finally:
        subprocess.run(["umount", folder], check=True)


def _can_mount() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        words = ["mount", "-t", "tmpfs", "tmpfs", folder]
        if not shutil.which("mount") or subprocess.run(words, capture_output=True).returncode:
            return False
        return not subprocess.run(["umount", folder]).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", metavar="TEXT", help="scenarios with this in their names")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each N-th of the operations and sizes")
    args = parser.parse_args()
    warm_up()
    sweeps = [by_operation, by_size_of_files] + [by_size_of_disk] * _can_mount()
    bad = False
    for scenario in SCENARIOS:
        if args.only not in scenario.name:
            continue
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            trials = Trials(scenario, Path(folder))
            for sweep in sweeps:
                sweep(trials, args.every)
        print(f"{scenario.name}: {time.perf_counter() - start:.0f} s", flush=True)
        trials.report()
        bad |= bool(trials.problems)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
