"""Starts `caffecompat train --processes N`, kills one of its processes, and waits for the end of the others.

The launcher is forked from this process, and its processes from the launcher, so that none imports torch again.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lives import LIMIT, Life, become, ends, fork

__all__ = ["Group"]

_ALL_END = 30.0  # seconds after the launcher
_FIELD = struct.Struct("q")


class Group:
    """The processes of the newest run: the launcher is number 0, rank r is number r + 1.

    Args:
        ranks: how many processes the launcher starts.
    """

    def __init__(self, ranks: int) -> None:
        self.numbers = range(ranks + 1)
        self._pids = mmap.mmap(-1, _FIELD.size * (ranks + 1))

    def live(
        self,
        words: Sequence[str],
        folder: Path,
        *,
        victim: int | None = None,
        kill_after: float | None = None,
        before: Callable[[], None] | None = None,
    ) -> Life:
        """Start the command in a folder and wait until all its processes have ended.

        Args:
            victim: the process that dies, after `kill_after` seconds or by what `before` prepares.
            before: is called in the launcher before it starts the others.
        """
        self._pids[:] = bytes(len(self._pids))
        log, start = folder.parent / f"{folder.name}.log", time.perf_counter()

        def prepare() -> None:
            self._fork_instead_of_starting()
            if before is not None:
                before()

        with open(log, "wb") as file:
            launcher = fork(words[1:], folder, file.fileno(), prepare)
        self._set(0, launcher)
        if victim is not None and kill_after is not None and not ends(launcher, kill_after):
            self.kill(victim)
        hung = not ends(launcher, LIMIT)
        if hung:
            os.kill(launcher, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(launcher, 0)[1])
        left = tuple(number for number in self.numbers[1:] if not self._ends(number))
        for number in left:
            self.kill(number)
        text = log.read_text(errors="replace")
        killed = not hung and (status == -signal.SIGKILL or "was killed by SIGKILL" in text)
        return Life(status, hung, text, time.perf_counter() - start, killed, left)

    def kill(self, number: int) -> None:
        """Kill a process, if it has been started and has not ended."""
        pid = self._pid(number)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _pid(self, number: int) -> int:
        return int(_FIELD.unpack_from(self._pids, number * _FIELD.size)[0])

    def _set(self, number: int, pid: int) -> None:
        _FIELD.pack_into(self._pids, number * _FIELD.size, pid)

    def _ends(self, number: int) -> bool:
        """Whether a process ends in time."""
        try:
            return not self._pid(number) or ends(self._pid(number), _ALL_END)
        except ProcessLookupError:
            return True

    def _fork_instead_of_starting(self) -> None:
        """In the launcher: let `run_together` fork its processes."""
        from caffecompat.cli.common import processes

        group = self

        class Forked(subprocess.Popen[bytes]):
            def __init__(self, command: Sequence[str], *, env: Mapping[str, str], **rest: Any) -> None:
                self.pid, self.returncode = os.fork(), None
                self.args, self.stdin, self.stdout, self.stderr = command, None, None, None
                self._child_created, self._waitpid_lock = True, threading.Lock()
                if not self.pid:
                    os.environ.clear()
                    os.environ.update(env)
                    for number in processes._FORWARDED:
                        signal.signal(number, signal.SIG_DFL)
                    become(command[command.index("caffecompat") + 1 :])
                group._set(int(env["RANK"]) + 1, self.pid)

        subprocess.Popen = Forked  # type: ignore[assignment,misc]
