"""Counts what a process does to files, and does something at the n-th of it: kill the process, or say the disk is full.

Counted are the making, renaming, linking and removing of files and folders, each write through Python, and fsync. What
C libraries write on their own (HDF5's content) is not seen.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import mmap
import os
import signal
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Act", "Counter", "Operation", "do", "install", "kill", "read_record", "record", "run_out_of_space"]

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Operation(NamedTuple):
    """One operation: its number from 1 on, its kind ("open", "write", "fsync", "os.rename", ...), on which path."""

    number: int
    kind: str
    path: str

    @property
    def is_of_log(self) -> bool:
        """Whether it writes to stdout or stderr."""
        return self.path == "log"

    @property
    def takes_space(self) -> bool:
        """Whether a full disk can make it fail."""
        return self.kind not in ("os.remove", "os.rmdir")


Act = Callable[[Operation], None]


class Counter:
    """A number that a process shares with those it forks."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8)

    @property
    def value(self) -> int:
        return int(struct.unpack("q", self._memory[:])[0])

    @value.setter
    def value(self, value: int) -> None:
        self._memory[:] = struct.pack("q", value)


def kill(at: int) -> Act:
    """Kill the process and its group before operation number `at`."""
    return do(at, lambda: os.killpg(0, signal.SIGKILL))


def do(at: int, action: Callable[[], None]) -> Act:
    """Call `action`, whose own operations do not count, before operation number `at`."""

    def act(operation: Operation) -> None:
        if operation.number == at:
            action()

    return act


def record(path: Path) -> Act:
    """Write the operations to a file, for `read_record`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)

    def act(operation: Operation) -> None:
        os.write(descriptor, f"{operation.kind} {operation.path}\n".encode())

    return act


def read_record(path: Path) -> list[Operation]:
    """The operations that `record` wrote."""
    lines = path.read_text().splitlines()
    return [Operation(number, *line.split(" ", 1)) for number, line in enumerate(lines, 1)]


def run_out_of_space(at: int, concerns: Callable[[Operation], bool], *, once: bool = False) -> Act:
    """Let operations fail as on a full disk, those from number `at` on that `concerns` picks.

    Args:
        once: only the first of them fails.
    """
    failed = False

    def act(operation: Operation) -> None:
        nonlocal failed
        if operation.number >= at and operation.takes_space and concerns(operation) and not (once and failed):
            failed = True
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return act


def install(counter: Counter, act: Act | None = None) -> None:
    """Count this process's operations from now on; there is no way back."""
    busy = False

    def step(kind: str, path: str) -> None:
        nonlocal busy
        if busy:
            return
        busy = True
        try:
            counter.value += 1
            if act is not None:
                act(Operation(counter.value, kind, path))
        finally:
            busy = False

    def audited(event: str, arguments: Sequence[Any]) -> None:
        if event in ("os.rename", "os.link"):
            step(event, _absolute(arguments[1]))
        elif event in ("os.mkdir", "os.remove", "os.rmdir"):
            step(event, _absolute(arguments[0]))
        elif event == "open" and isinstance(arguments[0], (str, bytes, Path)) and _is_writing(*arguments[1:3]):
            path = _absolute(arguments[0])
            if not path.startswith(("/dev/", "/proc/")):
                step(event, path)

    fsync = os.fsync

    def counted_fsync(descriptor: Any) -> None:
        step("fsync", _path_of(descriptor))
        fsync(descriptor)

    class CountedFile(io.FileIO):
        def write(self, data: Any) -> int:
            step("write", _path_of(self.fileno()))
            return super().write(data) or 0

    plain_open = builtins.open

    def counted_open(file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **named: Any) -> Any:
        if not set(mode) <= set("wxabt") or not set(mode) & set("wxa") or isinstance(file, int) or rest or named:
            return plain_open(file, mode, buffering, *rest, **named)
        buffered = io.BufferedWriter(CountedFile(file, mode.replace("b", "").replace("t", "")))
        return buffered if "b" in mode else io.TextIOWrapper(buffered)

    os.fsync = counted_fsync  # type: ignore[assignment]
    io.FileIO = CountedFile  # type: ignore[misc]
    builtins.open = counted_open
    sys.addaudithook(audited)


def _absolute(path: Any) -> str:
    try:
        return os.path.abspath(os.fsdecode(path))
    except OSError:  # the current folder is gone
        return os.fsdecode(path)


def _path_of(descriptor: int) -> str:
    with contextlib.suppress(OSError):
        return "log" if descriptor in (1, 2) else os.readlink(f"/proc/self/fd/{descriptor}")
    return ""


def _is_writing(mode: str | None, flags: int) -> bool:
    return bool(set(mode) & set("wxa+")) if mode else bool(flags & _WRITES)
