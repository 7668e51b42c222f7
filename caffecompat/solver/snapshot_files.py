"""Names and places of snapshots, and finding the newest one."""

from __future__ import annotations

import glob
import os
import re
from typing import Any

from caffecompat import glog
from caffecompat.errors import CaffeCompatError
from caffecompat.forks import ForkChoice
from caffecompat.formats.atomic import is_same_file
from caffecompat.formats.solverstate import read_solverstate
from caffecompat.schema import pb

__all__ = [
    "beside_state",
    "check_writable",
    "kept_fork",
    "newest_solverstate",
    "snapshot_names",
    "warn_of_replaced",
    "weight_snapshots",
]


def snapshot_names(param: Any, iteration: int) -> tuple[str, str]:
    """Paths of the weights and the state at `iteration`: the prefix with ``_iter_N`` glued on, as in Caffe."""
    suffix = ".h5" if param.snapshot_format == pb.SolverParameter.HDF5 else ""
    stem = f"{param.snapshot_prefix}_iter_{iteration}"
    return f"{stem}.caffemodel{suffix}", f"{stem}.solverstate{suffix}"


def check_writable(param: Any) -> None:
    """Make sure that snapshots can be written, before any training is spent.

    Raises:
        CaffeCompatError: the folder does not exist or cannot be written to.
    """
    probe = f"{param.snapshot_prefix}.tempfile"
    folder = os.path.dirname(probe) or "."
    if not os.path.isdir(folder):
        raise CaffeCompatError(
            f"snapshot_prefix {param.snapshot_prefix!r}: the folder {folder!r} does not exist; "
            f"make it (mkdir -p {folder}) or name another with --set snapshot_prefix=PATH"
        )
    try:
        with open(probe, "wb"):
            pass
        os.unlink(probe)
    except OSError as problem:
        raise CaffeCompatError(
            f"snapshot_prefix {param.snapshot_prefix!r}: cannot write to {folder!r} ({problem.strerror}); "
            "give yourself write access or name another place with --set snapshot_prefix=PATH"
        ) from problem


def warn_of_replaced(param: Any, weights: str) -> None:
    """Warn where a snapshot of this run will take the place of the weights that it begins with."""
    match = re.search(r"_iter_(\d+)\.caffemodel(\.h5)?$", weights)
    number = int(match[1]) if match else 0
    due = number and (
        (param.snapshot and number % param.snapshot == 0) or (number == param.max_iter and param.snapshot_after_train)
    )
    if due and number <= param.max_iter and is_same_file(weights, snapshot_names(param, number)[0]):
        glog.warning(
            f"the snapshot of iteration {number} will replace {weights}, which this run starts from; "
            "--set snapshot_prefix=PATH keeps both"
        )


def beside_state(path: str, state_path: str) -> str:
    """Where the weights are that a solver state names: there, or under that name beside the state."""
    if os.path.exists(path):
        return path
    near = os.path.join(os.path.dirname(state_path), os.path.basename(path))
    return near if os.path.exists(near) else path


def newest_solverstate(param: Any) -> str | None:
    """The solverstate of the solver's prefix with the highest iteration, or None."""
    found = _numbered(param.snapshot_prefix, "solverstate")
    return found[-1][1] if found else None


def kept_fork(path: str) -> ForkChoice | None:
    """The fork that was named for the run that wrote a solverstate; None where none was.

    Raises:
        CaffeCompatError: the file is no solverstate.
    """
    state = read_solverstate(path)
    if state.fork is None or not state.fork_named:
        return None
    return ForkChoice(state.fork, f"as named for the run that wrote {path}", True)


def weight_snapshots(prefix: str) -> list[tuple[int, str]]:
    """(iteration, path) of each ``<prefix>_iter_N.caffemodel`` (or ``.caffemodel.h5``), in order."""
    return _numbered(prefix, "caffemodel")


def _numbered(prefix: str, kind: str) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for path in glob.glob(glob.escape(f"{prefix}_iter_") + "*"):
        match = re.search(rf"_iter_(\d+)\.{kind}(\.h5)?$", path)
        if match:
            found.append((int(match[1]), path))
    return sorted(found)
