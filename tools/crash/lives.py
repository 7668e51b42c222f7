"""Starts a command, and lets it end or kills it with SIGKILL, it and all processes that it started.

``caffecompat ...`` is forked from this process, which has imported torch already, so that a thousand starts take
minutes; nothing here may have started threads before. Any other command is started as a shell would.
"""

from __future__ import annotations

import importlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

__all__ = ["LIMIT", "Life", "become", "ends", "fork", "live", "warm_up"]

LIMIT = 120.0  # seconds after which a run hangs


class Life(NamedTuple):
    """The life of a process, or of the processes that train together.

    Attributes:
        status: its exit status, the launcher's of several; -9 where it was killed.
        hung: it took so long that it was ended.
        log: what it wrote to stdout and stderr.
        seconds: how long it lived.
        killed: it, or one of several, died as it was meant to.
        left: the numbers of those that did not end when another one had died.
    """

    status: int
    hung: bool
    log: str
    seconds: float
    killed: bool
    left: Sequence[int] = ()


def warm_up() -> None:
    """Import now what a training imports, once for all forks."""
    sys.dont_write_bytecode = True
    for name in ("cv2", "h5py", "caffecompat.cli.commands.train", "caffecompat.solver", "caffecompat.data.hdf5"):
        importlib.import_module(name)


def live(
    words: Sequence[str], folder: Path, *, kill_after: float | None = None, before: Callable[[], None] | None = None
) -> Life:
    """Start a command in a folder and wait for its end.

    Args:
        kill_after: seconds to its death.
        before: is called in the forked process before the command.
    """
    log = folder.parent / f"{folder.name}.log"
    start = time.perf_counter()
    with open(log, "wb") as file:
        if words[0] == "caffecompat":
            pid = fork(words[1:], folder, file.fileno(), before)
        else:
            pid = subprocess.Popen(words, cwd=folder, stdout=file, stderr=subprocess.STDOUT, start_new_session=True).pid
    if not ends(pid, LIMIT if kill_after is None else kill_after):
        os.killpg(pid, signal.SIGKILL)
    _, state = os.waitpid(pid, 0)
    status = os.waitstatus_to_exitcode(state)
    hung = status == -signal.SIGKILL and kill_after is None and time.perf_counter() - start >= LIMIT
    killed = status == -signal.SIGKILL and not hung
    return Life(status, hung, log.read_text(errors="replace"), time.perf_counter() - start, killed)


def ends(pid: int, seconds: float) -> bool:
    """Whether a process ends within this time."""
    descriptor = os.pidfd_open(pid)
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def fork(words: Sequence[str], folder: Path, log: int, before: Callable[[], None] | None) -> int:
    """Run the command line in a forked process, in a folder and with its output in an open file; the process's number.

    Args:
        before: is called in it before the command.
    """
    sys.stdout.flush()
    pid = os.fork()
    if not pid:

        def begin() -> None:
            os.chdir(folder)
            for target in (1, 2):
                os.dup2(log, target)
            os.close(log)
            if before is not None:
                before()

        become(words, begin)
    os.setpgid(pid, pid)  # also here, as the child may not come to it before it is killed
    return pid


def become(words: Sequence[str], before: Callable[[], None] | None = None) -> NoReturn:
    """In a forked process: be the command line with these words, in a group of its own."""
    status = 70
    try:
        os.setpgid(0, 0)
        _be_another_process()
        if before is not None:
            before()
        from caffecompat.cli.main import main

        status = main(words)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def _be_another_process() -> None:
    """Have what a process of its own would have: its random token, which names its temporary files and its lock."""
    import secrets

    from caffecompat.formats import atomic
    from caffecompat.solver import run_lock

    atomic.PROCESS = secrets.token_hex(4)
    vars(run_lock)["PROCESS"] = atomic.PROCESS
