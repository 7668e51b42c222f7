"""Log lines in glog's form, which Caffe's log parsers read.

``I0706 13:22:47.513291  4945 solver.cpp:270] message`` on stderr: severity,
month and day, local time, thread id in at least five columns, the C++ file and
line that prints the line in BVLC Caffe. Parsers look at the text after ``]``.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime

__all__ = ["error", "info", "number", "set_min_level", "set_sink", "warning"]


def _stderr(line: str) -> None:
    if sys.stderr is None:
        return
    # A full disk below its log, a reader or a terminal that has gone, a closed stream: nothing of it ends a training.
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"{line}\n")  # at once, so that neither a thread nor Ctrl-C comes between line and end
        sys.stderr.flush()


_sink: Callable[[str], None] = _stderr
_held_back: deque[str] = deque()  # lines of signal handlers that came while another line was being written


def set_sink(sink: Callable[[str], None] | None) -> None:
    """Send finished lines to `sink` (a live display, a test); ``None`` is stderr again."""
    global _sink
    _sink = sink or _stderr


_min_level: int | None = None


def set_min_level(level: int | None) -> None:
    """Print lines from this severity on (0 info, 1 warning, 2 error); ``None`` leaves it to ``GLOG_minloglevel``.

    The environment variable is read anew for every line: scripts set it before ``import caffe``.
    """
    global _min_level
    _min_level = level


def _is_muted(severity: str) -> bool:
    least = _min_level if _min_level is not None else os.environ.get("GLOG_minloglevel", "0")  # noqa: SIM112  (glog's spelling)
    return str(least).isdigit() and "IWEF".index(severity) < int(least)


def number(value: float) -> str:
    """A float as C++ streams print it: six significant digits, ``%g`` style."""
    return f"{value:.6g}"


def _log(severity: str, message: str, where: str) -> None:
    if _is_muted(severity):
        return
    now = datetime.now()
    thread = threading.get_native_id()
    _put(f"{severity}{now:%m%d %H:%M:%S.%f} {thread:>5} {where}] {message}")


def _put(line: str) -> None:
    _held_back.append(line)
    while _held_back:
        line = _held_back.popleft()
        try:
            _sink(line)
        except RuntimeError as problem:
            if "reentrant" not in str(problem):
                raise
            _held_back.appendleft(line)  # follows the line that is being written: the loop below on the stack puts it
            return


def info(message: str, where: str = "caffe.cpp:1") -> None:
    """Log `message`; `where` is the ``file:line`` that BVLC Caffe prints for it."""
    _log("I", message, where)


def warning(message: str, where: str = "caffe.cpp:1") -> None:
    """Log a warning line."""
    _log("W", message, where)


def error(message: str, where: str = "caffe.cpp:1") -> None:
    """Log an error line."""
    _log("E", message, where)
