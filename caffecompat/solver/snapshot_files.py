"""Names and places of snapshots, and finding the newest whole one."""

from __future__ import annotations

import contextlib
import errno
import filecmp
import glob
import os
import re
import tempfile
from collections.abc import Iterator, Sequence

from caffecompat import glog
from caffecompat.errors import CaffeCompatError
from caffecompat.forks import ForkChoice
from caffecompat.formats import open_weights
from caffecompat.formats.atomic import WriteError, is_same_file
from caffecompat.formats.resume_file import resume_name
from caffecompat.formats.solverstate import read_solverstate
from caffecompat.printable import printable
from caffecompat.schema import pb
from caffecompat.solver.run_lock import RunLock

__all__ = [
    "averages_name",
    "best_names",
    "check_writable",
    "newest_snapshot",
    "places_elsewhere",
    "scored_names",
    "snapshot_names",
    "snapshot_paths",
    "state_weights",
    "stored_fork",
    "wants_snapshots",
    "warn_of_replaced",
    "weight_snapshots",
]


def wants_snapshots(param: pb.SolverParameter) -> bool:
    """Whether a solver asks for any snapshot."""
    fields = ("snapshot", "snapshot_after_train", "snapshot_best", "test_and_snapshot_last_epochs")
    return any(getattr(param, field) for field in fields)


def snapshot_names(param: pb.SolverParameter, iteration: int, prefix: str | None = None) -> tuple[str, str]:
    """Paths of the weights and the state at `iteration`: the prefix with ``_iter_N`` glued on, as in Caffe.

    Args:
        prefix: another one than the solver's.
    """
    return _names(param, f"{param.snapshot_prefix if prefix is None else prefix}_iter_{iteration}")


def best_names(param: pb.SolverParameter) -> tuple[str, str]:
    """Paths of the weights and the state of the best snapshot, ``<prefix>_best``."""
    return _names(param, f"{param.snapshot_prefix}_best")


def scored_names(param: pb.SolverParameter, iteration: int, scores: Sequence[float]) -> tuple[str, str]:
    """Those of a snapshot with the scores in its name, ``<prefix>_iter_N_score0_0.9`` (NVCaffe 0.17)."""
    texts = (f"_score{index}_{glog.number(score)}" for index, score in enumerate(scores))
    return _names(param, f"{param.snapshot_prefix}_iter_{iteration}{''.join(texts)}")


def _names(param: pb.SolverParameter, stem: str) -> tuple[str, str]:
    suffix = ".h5" if param.snapshot_format == pb.SolverParameter.HDF5 else ""
    return f"{stem}.caffemodel{suffix}", f"{stem}.solverstate{suffix}"


def averages_name(weights: str) -> str:
    """Where averaged weights lie beside a snapshot's: ``<prefix>_ema_iter_N``; "" for a file that is no snapshot's."""
    name, found = re.subn(r"(_iter_\d+(?:_score\d+_[^/]*?)?|_best)(\.caffemodel(\.h5)?)$", r"_ema\1\2", weights)
    return name if found else ""


def snapshot_paths(weights: str, state: str) -> list[str]:
    """All files that a snapshot may have, in the order in which they appear; the state is the last."""
    return [weights, averages_name(weights), resume_name(state), state]


def check_writable(param: pb.SolverParameter) -> None:
    """Make sure that snapshots can be written, before any training is spent.

    Raises:
        CaffeCompatError: the folder does not exist or cannot be written to.
    """
    if printable(param.snapshot_prefix) != param.snapshot_prefix:
        raise CaffeCompatError(f"snapshot_prefix {param.snapshot_prefix!r} has control characters in it; name another")
    folder = os.path.dirname(param.snapshot_prefix) or "."
    if not os.path.isdir(folder):
        raise CaffeCompatError(
            f"snapshot_prefix {param.snapshot_prefix!r}: the folder {folder!r} does not exist; "
            f"make it (mkdir -p {folder}) or name another with --set snapshot_prefix=PATH"
        )
    try:
        # A name nobody has, and that a later run removes where this one is killed meanwhile.
        probe = f"{RunLock(param.snapshot_prefix).path}.tmp"
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        os.unlink(probe)
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or str(problem)
        full = getattr(problem, "errno", 0) in (errno.ENOSPC, errno.EDQUOT)
        advice = "free space there" if full else "get write access"
        raise (WriteError if full else CaffeCompatError)(
            f"snapshot_prefix {param.snapshot_prefix!r}: cannot write to {folder!r} ({reason}); "
            f"{advice} or name another place with --set snapshot_prefix=PATH"
        ) from problem


def places_elsewhere(prefix: str, relative_to: str | None) -> Iterator[str]:
    """Prefixes in other folders, each new and there to be written to, for a snapshot that could not be written.

    They lie, in this order, next to the snapshots' folder, in the current one, next to the file `relative_to`, at home,
    and where temporary files go. A folder that stays empty is removed when the next place is asked for.
    """
    base = os.path.basename(prefix)
    for home in dict.fromkeys(_homes(prefix, relative_to)):
        try:
            made = tempfile.mkdtemp(prefix=f"{base[:100] or 'snapshot'}_rescued_", dir=home)
        except OSError:
            continue
        yield os.path.join(made, base)
        with contextlib.suppress(OSError):
            os.rmdir(made)


def _homes(prefix: str, relative_to: str | None) -> Iterator[str]:
    with contextlib.suppress(OSError):  # the current folder is gone, as everything that lies relative to it
        yield os.path.dirname(os.path.dirname(os.path.abspath(prefix)))
        yield os.getcwd()
        yield os.path.dirname(os.path.abspath(relative_to or ""))
    yield os.path.expanduser("~")
    yield tempfile.gettempdir()


def warn_of_replaced(param: pb.SolverParameter, weights: str) -> None:
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


def state_weights(named: str, state_path: str) -> str:
    """Where the weights are that a solver state names: there, or under that name next to the state.

    Where both exist and differ, those next to it are the ones of its snapshot: it was copied, and the place that it
    names belongs to another run by now (or to one in another folder). A warning says which are taken.

    Raises:
        CaffeCompatError: there are none.
    """
    near = os.path.join(os.path.dirname(state_path), os.path.basename(named))
    if not os.path.exists(near):
        if os.path.exists(named):
            return named
        where = "" if near == named else f", nor is there {near}"
        raise CaffeCompatError(f"its weights {named} are gone{where}")
    if not os.path.exists(named) or is_same_file(named, near):
        return named if os.path.exists(named) else near
    if filecmp.cmp(named, near, shallow=False):
        return named
    glog.warning(f"{state_path} names the weights {named}, which are others than {near} next to it: taking those")
    return near


def newest_snapshot(prefix: str) -> str | None:
    """The solverstate of the newest snapshot under a prefix that is whole; None where there is none at all.

    Whole is a state that can be read, with the weights that it names. Newer ones that are not are warned about.

    Raises:
        CaffeCompatError: there are snapshots, and not one of them is whole.
    """
    skipped: list[str] = []
    for _, state in reversed(_numbered(prefix, "solverstate")):
        problem = _damage(state)
        if not problem:
            for line in skipped:
                glog.warning(f"--resume auto: skipped {line}")
            return state
        skipped.append(f"{state}: {problem}")
    if skipped:
        raise CaffeCompatError(
            "--resume auto: none of the snapshots is whole:\n  "
            + "\n  ".join(skipped)
            + "\nbring a missing file back, or leave --resume out to start from the beginning"
        )
    return None


def _damage(state: str) -> str:
    """Why a solverstate cannot be resumed from; "" if it can."""
    try:
        named = read_solverstate(state).learned_net
        weights = state_weights(named, state) if named else ""
        layers = open_weights(weights).layers if named else []
        if named and not layers:
            return f"its weights {weights} are empty"
        for layer in layers:
            for blob in layer.blobs:
                if blob is not None:
                    blob.check()
    except (CaffeCompatError, OSError) as problem:
        return str(problem)
    return ""


def stored_fork(path: str) -> ForkChoice | None:
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
