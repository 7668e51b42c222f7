"""Take folders and data away from a training run at each moment, and see how it ends.

    python tools/crash/removed.py
    python tools/crash/removed.py --only "list" --every 5

Before the n-th of its file operations, for each n, the snapshots' folder or the whole folder of the run is removed; or
its data is removed, renamed over by other data, written over in place or cut short. What a run may end with is in
trials.py. The exit status is 1 where one does not.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import operations
from lives import warm_up
from scenarios import SCENARIOS
from trials import Trials

__all__ = ["main"]


def _data(folder: Path) -> list[Path]:
    """The files that hold a run's data: not the lists of them, which are read at the beginning."""
    return sorted({*folder.glob("db/data.mdb"), *folder.glob("*.png"), *folder.glob("*.h5")})


def _remove_snapshots(folder: Path) -> None:
    shutil.rmtree(folder / "snapshots")


def _remove_all(folder: Path) -> None:
    shutil.rmtree(folder)


def _remove_data(folder: Path) -> None:
    shutil.rmtree(folder / "db", ignore_errors=True)
    for path in _data(folder):
        path.unlink()


def _replace_data(folder: Path) -> None:
    """Other files of the same names and sizes, renamed over the data."""
    for path in _data(folder):
        other = path.with_suffix(".other")
        other.write_bytes(bytes(path.stat().st_size))
        other.replace(path)


def _write_over_data(folder: Path) -> None:
    """What cp does: the same files, with other bytes."""
    for path in _data(folder):
        path.write_bytes(bytes(path.stat().st_size))


def _cut_data(folder: Path) -> None:
    for path in _data(folder):
        os.truncate(path, path.stat().st_size // 2)


# What happens; and what may be gone at the end.
_KINDS: dict[str, tuple[Callable[[Path], None], str]] = {
    "snapshots removed": (_remove_snapshots, "snapshots"),
    "folder removed": (_remove_all, "all"),
    "data removed": (_remove_data, ""),
    "data replaced": (_replace_data, ""),
    "data written over": (_write_over_data, ""),
    "data cut short": (_cut_data, ""),
}


def disturb(trials: Trials, every: int) -> None:
    """Each kind before each operation, or before every few."""
    for kind, (action, may_go) in _KINDS.items():
        for operation in trials.operations[::every]:
            folder = trials.fresh()
            trials.run(
                kind,
                lambda: operations.do(operation.number, lambda: action(folder)),  # noqa: B023
                where=f"operation {operation.number}, {operation.kind} of {operation.path}",
                may_go=may_go,
                changes_data=kind.startswith("data"),
            )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", metavar="TEXT", help="scenarios with this in their names")
    parser.add_argument("--every", type=int, default=10, metavar="N", help="before each N-th operation")
    args = parser.parse_args()
    warm_up()
    bad = False
    for scenario in SCENARIOS:
        if args.only not in scenario.name:
            continue
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            trials = Trials(scenario, Path(folder))
            disturb(trials, args.every)
        print(f"{scenario.name}: {time.perf_counter() - start:.0f} s", flush=True)
        trials.report()
        bad |= bool(trials.problems)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
