"""A file next to the snapshots that says which run writes them, so that a second run on the prefix is noticed.

Each run has a file of its own, ``.PREFIX.run-TOKEN.lock``, with its host, process and start, and touches it every
few seconds. On the same machine the process table says whether the run of another file still goes on; for other hosts
and containers, whose processes cannot be seen from here, the time since it was last touched does.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from datetime import datetime
from types import TracebackType
from typing import Any

from caffecompat import glog
from caffecompat.formats.atomic import PROCESS

__all__ = ["HEARTBEAT", "SILENT", "RunLock"]

HEARTBEAT = 15.0  # seconds between two touches
SILENT = 150.0  # seconds after which a run that cannot be seen counts as ended: NFS may show a touch a minute late

_TEMPORARY = re.compile(r"(?:_(?:iter_\d+|best)\.\w+(?:\.h5)?\.(\w+)|\.run-(\w+)\.lock)\.tmp$")
_LONGEST = 10_000  # characters of a lock that are read
_UNOWNED = 3600.0  # seconds after which a temporary file that no lock accounts for is a leftover


class RunLock:
    """Marks a snapshot prefix as being written while it is an active context.

    Entering reports other runs on the prefix, and removes what killed runs left: their lock files, and temporary files
    that never became snapshots. A lock that cannot be written is a warning: the training is worth more.

    Args:
        prefix: the solver's snapshot_prefix.
    """

    def __init__(self, prefix: str) -> None:
        folder, self._base = os.path.split(prefix)
        self._folder = folder or "."
        self.path = os.path.join(folder, f".{self._base}.run-{PROCESS}.lock")
        self._prefix = prefix
        self._ended = threading.Event()
        self._heart: threading.Thread | None = None

    def __enter__(self) -> RunLock:
        problem = self._write()
        if problem:
            glog.warning(
                f"{self.path}: cannot be written ({problem}); another run on snapshot_prefix {self._prefix!r} will not "
                "notice this one"
            )
        running, ended = self._others()
        self._remove_temporaries(running, set(ended))
        for path in ended.values():  # last: where this process is killed meanwhile, the next one removes the rest
            with contextlib.suppress(OSError):
                os.unlink(path)
        if not problem:
            self._heart = threading.Thread(target=self._beat, name="caffecompat run lock", daemon=True)
            self._heart.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        if self._heart is not None:
            self._heart.join()
            with contextlib.suppress(OSError):
                os.unlink(self.path)

    def _write(self) -> str:
        """Write the lock; returns why it could not be, "" if it was."""
        about = _this_process() | {"started": datetime.now().isoformat(timespec="seconds")}
        temporary = f"{self.path}.tmp"
        try:
            with open(temporary, "w") as file:
                json.dump(about, file)
            os.replace(temporary, self.path)
        except OSError as problem:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            return problem.strerror or str(problem)
        return ""

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT):
            try:
                os.utime(self.path)
            except FileNotFoundError:  # taken for ended: the machine slept, or the network was away
                self._write()
            except OSError:
                continue

    def _others(self) -> tuple[set[str], dict[str, str]]:
        """Report runs that go on; their tokens, and the locks of those that have ended, by token."""
        running: set[str] = set()
        ended: dict[str, str] = {}
        for path in glob.glob(os.path.join(glob.escape(self._folder), f".{glob.escape(self._base)}.run-*.lock")):
            token = path.rpartition("-")[2].removesuffix(".lock")
            about = _read(path)
            if token == PROCESS or about is None:
                continue
            age = self._age(path)
            if not _is_running(about, age):
                ended[token] = path
                continue
            running.add(token)
            seen = "" if _is_visible(about) else f"; its last sign of life is {age:.0f} s old"
            pid, host, started = (about.get(name, "unknown") for name in ("pid", "host", "started"))
            glog.warning(
                f"another run writes to snapshot_prefix {self._prefix!r}: process {pid} on {host}, "
                f"since {started}{seen} ({path}). Each replaces the other's snapshots: "
                "stop one, or give this one a prefix of its own with --set snapshot_prefix=PATH"
            )
        return running, ended

    def _age(self, path: str) -> float:
        """Seconds since a lock was touched, by the clock of the file system where both files can be compared."""
        try:
            touched = os.stat(path).st_mtime
        except OSError:
            return float("inf")
        with contextlib.suppress(OSError):
            os.utime(self.path)
            return os.stat(self.path).st_mtime - touched
        return datetime.now().timestamp() - touched

    def _remove_temporaries(self, running: set[str], ended: set[str]) -> None:
        """Remove the temporary files of snapshots whose writers have ended."""
        for path in self._temporaries():
            found = _TEMPORARY.search(path)
            token = (found[1] or found[2])[: len(PROCESS)] if found else PROCESS
            if token == PROCESS or token in running or (token not in ended and self._age(path) < _UNOWNED):
                continue
            try:
                size = _remove(path)
            except OSError as problem:
                glog.warning(f"{path}: is left from a run that was killed, and cannot be removed ({problem.strerror})")
                continue
            glog.info(f"Removed {path} ({size:,} bytes), left from a run that was killed")

    def _temporaries(self) -> Iterator[str]:
        for name in ("_iter_*.tmp", "_best.*.tmp", "_ema_iter_*.tmp", "_ema_best.*.tmp", ".run-*.lock.tmp"):
            yield from glob.glob(os.path.join(glob.escape(self._folder), f".{glob.escape(self._base)}{name}"))


def _remove(path: str) -> int:
    """Remove a file, or a folder with the files in it; their bytes."""
    if os.path.islink(path) or not os.path.isdir(path):
        size = os.path.getsize(path)
        os.unlink(path)
        return size
    size = sum(_remove(entry.path) for entry in os.scandir(path))
    os.rmdir(path)
    return size


def _this_process() -> dict[str, Any]:
    """What tells this process from all others, on this machine and elsewhere."""
    pid = os.getpid()
    return {"host": socket.gethostname(), "pid": pid, "process_start": _start_of(pid), **_machine()}


def _machine() -> dict[str, str]:
    """The running system and the process table that its processes share; "" where they have no names."""
    boot = namespace = ""
    with contextlib.suppress(OSError):
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read().strip()
        namespace = os.readlink("/proc/self/ns/pid")
    return {"boot": boot, "namespace": namespace}


def _start_of(pid: int) -> str:
    """When a process began, in the kernel's ticks: a pid is used again, the two together are not.

    "" where there is no such process (one that waits to be reaped is none), or the system has no /proc.
    """
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        return ""


def _read(path: str) -> dict[str, Any] | None:
    """A lock's content; {} for one that is damaged or half written, None for one that has just gone."""
    try:
        with open(path) as file:
            about = json.loads(file.read(_LONGEST))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        return {}
    return about if isinstance(about, dict) else {}


def _is_visible(about: dict[str, Any]) -> bool:
    """Whether a process is one of this machine's and of this container's, so that it can be looked for."""
    here = {"host": socket.gethostname(), **_machine()}
    return isinstance(about.get("pid"), int) and all(about.get(name) == value for name, value in here.items())


def _is_running(about: dict[str, Any], age: float) -> bool:
    if not _is_visible(about):
        return age < SILENT
    pid = about["pid"]
    if about.get("process_start"):
        return bool(_start_of(pid) == about["process_start"])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OverflowError:  # no process has such a number
        return False
    except OSError:  # another user's
        return True
    return True
