"""pycaffe's process-wide odds and ends: log lines, timers, and the counters of its multi-GPU scripts."""

from __future__ import annotations

import sys
import time
import uuid

from caffecompat import glog
from caffecompat.errors import CaffeCompatError

__all__ = [
    "NCCL",
    "Timer",
    "has_nccl",
    "init_log",
    "log",
    "set_logging_disabled",
    "set_multiprocess",
    "set_solver_count",
    "set_solver_rank",
    "solver_count",
    "solver_rank",
]

_solver = {"count": 1, "rank": 0}


def init_log(level: int = 0, stderr: bool = False) -> None:
    """Log from severity `level` on: 0 info, 1 warnings, 2 errors. Lines go to stderr with or without `stderr`."""
    glog.set_min_level(level)


def log(message: str) -> None:
    """Write a line into the log."""
    glog.configure_logging()
    glog.info(message, "_caffe.cpp:49")


def set_logging_disabled(disabled: bool = True) -> None:
    """Keep the log silent, or let it speak again."""
    glog.set_min_level(4 if disabled else 0)


class Timer:
    """Measures the time between :meth:`start` and :meth:`stop`."""

    def __init__(self) -> None:
        self._begun = self._spent = 0.0

    def start(self) -> None:
        """Begin to measure."""
        self._begun = time.perf_counter()

    def stop(self) -> None:
        """End the measurement; work that a GPU was given counts to its end."""
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.synchronize()
        self._spent = time.perf_counter() - self._begun

    @property
    def ms(self) -> float:
        """The time measured, in milliseconds."""
        return self._spent * 1000


def has_nccl() -> bool:
    """Whether several solvers can be joined: no; training on several GPUs is the command line's ``train --gpu``."""
    return False


class NCCL:
    """Joins the one solver that there is with nobody, so that pycaffe's training scripts run on one GPU."""

    def __init__(self, solver: object, uid: bytes) -> None:
        self._solver = solver

    @staticmethod
    def new_uid() -> bytes:
        """A name for the group of solvers."""
        return uuid.uuid4().bytes

    def bcast(self) -> None:
        """Nobody waits for the weights."""


def solver_count() -> int:
    """How many solvers work together, as given to :func:`set_solver_count`."""
    return _solver["count"]


def set_solver_count(count: int) -> None:
    """Set how many solvers work together: one.

    Raises:
        CaffeCompatError: there would be several.
    """
    if count != 1:
        raise CaffeCompatError(
            f"set_solver_count({count}): solvers in several Python processes are not joined here; "
            "run 'caffecompat train --solver S --gpu all'"
        )


def solver_rank() -> int:
    """Which of the solvers this process runs."""
    return _solver["rank"]


def set_solver_rank(rank: int) -> None:
    """Set which of the solvers this process runs; the solver of rank 0 tests and takes snapshots."""
    _solver["rank"] = rank


def set_multiprocess(multiprocess: bool) -> None:
    """Accepted as pycaffe does; with one solver it changes nothing."""
