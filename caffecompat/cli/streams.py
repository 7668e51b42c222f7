"""stdout and stderr whose reader may leave: what a command does goes on, and its exit status is what it would be.

``caffecompat merge-bn ... | head -1`` still writes its files, and ``caffecompat train ... 2>&1 | head`` trains to the
end. What is written after the reader has left goes nowhere.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import sys
from collections.abc import Iterator
from typing import Any

__all__ = ["drop_output", "lasting_streams"]


class _LastingText(io.TextIOWrapper):
    """A text stream that goes nowhere once nobody can read it: its pipe or its terminal was closed.

    Text is where this is done, and not the file below the buffer: a buffer that calls Python code would be entered
    again by a signal handler that logs, which it refuses.
    """

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as problem:
            self._go_on(problem)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as problem:
            self._go_on(problem)

    def _go_on(self, problem: OSError) -> None:
        gone_terminal = problem.errno == errno.EIO and stat.S_ISCHR(os.fstat(self.fileno()).st_mode)
        if problem.errno != errno.EPIPE and not gone_terminal:
            raise problem
        _to_nowhere(self.fileno())


@contextlib.contextmanager
def lasting_streams() -> Iterator[None]:
    """Give ``sys.stdout`` and ``sys.stderr`` that property for a while; streams that are no files stay as they are."""
    _open_closed_streams()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(_lasting, before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # a full disk was reported where it could be
                stream.flush()
        sys.stdout, sys.stderr = before


def drop_output() -> None:
    """Let what stdout still holds go nowhere: its disk is full."""
    with contextlib.suppress(OSError, ValueError):
        _to_nowhere(sys.stdout.fileno())


def _to_nowhere(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)


def _open_closed_streams() -> None:
    """Give the place of a stdout or stderr that was closed (``>&-``) to nothing, before a file opened next takes it."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 -- for the rest of the process


def _lasting(stream: Any) -> Any:
    try:
        stream.flush()
        descriptor = stream.fileno()
        return _LastingText(
            io.BufferedWriter(io.FileIO(descriptor, "wb", closefd=False)),
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
    except (OSError, ValueError, AttributeError):  # a notebook's or a test's own stream
        return stream
