"""The process of a command: its streams, Ctrl-C, its exit status.

A reader of stdout or stderr may leave: what a command does goes on, and its exit status is what it would be.
``caffecompat merge-bn ... | head -1`` still writes its files, and ``caffecompat train ... 2>&1 | head`` trains to the
end. What is written after the reader has left goes nowhere. Names out of files send nothing to a terminal but letters.
"""

from __future__ import annotations

import _thread
import contextlib
import errno
import gc
import io
import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from caffecompat.errors import CaffeCompatError, notes
from caffecompat.memory import is_out_of_memory, out_of_memory
from caffecompat.printable import printable_lines

__all__ = ["exit_status", "fewer_collections", "lasting_streams"]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_STDERR = 2
_LONGEST_IMPORT = 5.0  # seconds that Ctrl-C may wait


def exit_status(command: Callable[[], int], debug: bool) -> int:
    """Run a command; what went wrong becomes a message on stderr and an exit status.

    0 is done, 1 is "the data says no" (a difference, a violation, a failed verification) or that the result could not
    be written, 2 a wrong command or unreadable input, 130 interrupted.

    Args:
        command: returns 0 or 1, or raises.
        debug: let exceptions through, for their tracebacks.
    """
    try:
        with _interrupts_after_imports():
            try:
                status = command()
            except SystemExit:  # of --help
                sys.stdout.flush()
                raise
            sys.stdout.flush()
        return status
    except KeyboardInterrupt as stop:
        if debug:
            raise
        print(f"interrupted: {stop}" if str(stop) else "interrupted", file=sys.stderr)
        return 130
    except Exception as problem:
        if debug:
            raise
        if is_out_of_memory(problem):
            problem = out_of_memory(problem)
        if not (isinstance(problem, (CaffeCompatError, OSError)) or notes(problem)):
            raise
        _print_error(_described(problem))
        if isinstance(problem, OSError) and problem.filename is None:
            _drop_output()
        return _status(problem)


def _status(problem: Exception) -> int:
    full = isinstance(problem, OSError) and problem.errno in _FULL
    return int(getattr(problem, "status", 1 if full else 2))


def _described(problem: Exception) -> str:
    if isinstance(problem, CaffeCompatError):
        return str(problem)
    if notes(problem):  # the user's own code (a Python layer) failed; the note says where
        return f"{'; '.join(notes(problem))}: {type(problem).__name__}: {problem}"
    assert isinstance(problem, OSError)
    if problem.filename is None and problem.errno in _FULL:
        return f"the results cannot be written: {problem.strerror}"
    what = f"{problem.filename}: " if problem.filename is not None else ""
    return f"{what}{problem.strerror or problem}"


def _print_error(message: str) -> None:
    with contextlib.suppress(OSError):  # stderr on a full disk
        print(f"error: {message}", file=sys.stderr)


@contextlib.contextmanager
def _interrupts_after_imports() -> Iterator[None]:
    """Hold Ctrl-C back while a module is imported, a few seconds at most.

    Importing torch is most of a command's first second. There Python drops an interrupt (in callbacks of its own, in
    others' "except:"), and the command would go on; or it stops for good, at the lock of a module that is half there.
    """
    since = 0.0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal since
        since = since or time.monotonic()
        if _is_importing(frame) and time.monotonic() - since < _LONGEST_IMPORT:
            again = threading.Timer(0.05, _thread.interrupt_main)
            again.daemon = True
            again.start()
            return
        since = 0.0
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread() or (
        signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield  # another's handler stays
        return
    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


class _LastingText(io.TextIOWrapper):
    """A text stream that goes nowhere once nobody can read it: its pipe or its terminal was closed.

    Of stderr, which holds no results, nothing that fails is an error: not a full disk, nor a damaged one.

    Text is where this is done, and not the file below the buffer: a buffer that calls Python code would be entered
    again by a signal handler that logs, which it refuses.
    """

    escapes = True  # whether control characters in the text, as names out of files may have, are shown as \x1b

    @property
    def unescaped(self) -> _Unescaped:
        """The same stream for text whose control characters are the command's own: colors."""
        return _Unescaped(self)

    def write(self, text: str, /) -> int:
        return self.write_unescaped(printable_lines(text) if self.escapes else text)

    def write_unescaped(self, text: str) -> int:
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
        if problem.errno == errno.EPIPE or gone_terminal:
            _to_nowhere(self.fileno())
        elif self.fileno() != _STDERR:
            raise problem


class _Unescaped:
    """See `_LastingText.unescaped`."""

    def __init__(self, stream: _LastingText) -> None:
        self._stream = stream
        self.encoding = stream.encoding

    def write(self, text: str) -> int:
        return self._stream.write_unescaped(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()


@contextlib.contextmanager
def fewer_collections() -> Iterator[None]:
    """Have Python look for unused cycles of objects less often for a while: at 20 000 new ones, not 700.

    Importing torch makes half a million objects that stay; looking through them again and again takes 0.2 s of the two
    in which a command reads a net and shows it.
    """
    before = gc.get_threshold()
    gc.set_threshold(20_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextlib.contextmanager
def lasting_streams(*, escapes: bool) -> Iterator[None]:
    """Give ``sys.stdout`` and ``sys.stderr`` that property for a while; streams that are no files stay as they are.

    What their encoding cannot show is written as an escape.

    Args:
        escapes: write control characters as escapes too.
    """
    _open_closed_streams()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_lasting(stream, escapes) for stream in before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # a full disk was reported where it could be
                stream.flush()
        sys.stdout, sys.stderr = before


def _drop_output() -> None:
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


def _lasting(stream: Any, escapes: bool) -> Any:
    try:
        stream.flush()
        descriptor = stream.fileno()
        lasting = _LastingText(
            io.BufferedWriter(io.FileIO(descriptor, "wb", closefd=False)),
            encoding=stream.encoding,
            errors="backslashreplace" if stream.errors == "strict" else stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        lasting.escapes = escapes
        return lasting
    except (OSError, ValueError, AttributeError):  # a notebook's or a test's own stream
        return stream
