"""Log lines in glog's form, which Caffe's log parsers read.

``I0706 13:22:47.513291  4945 solver.cpp:270] message`` on stderr: severity,
month and day, local time, thread id in at least five columns, the C++ file and
line that prints the line in BVLC Caffe. Parsers look at the text behind ``]``.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from datetime import datetime

__all__ = ["error", "info", "number", "set_sink", "warning"]


def _stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


_sink: Callable[[str], None] = _stderr


def set_sink(sink: Callable[[str], None] | None) -> None:
    """Send finished lines to `sink` (a live display, a test); ``None`` is stderr again."""
    global _sink
    _sink = sink or _stderr


def number(value: float) -> str:
    """A float as C++ streams print it: six significant digits, ``%g`` style."""
    return f"{value:.6g}"


def _log(severity: str, message: str, where: str) -> None:
    now = datetime.now()
    thread = threading.get_native_id()
    _sink(f"{severity}{now:%m%d %H:%M:%S.%f} {thread:>5} {where}] {message}")


def info(message: str, where: str = "caffe.cpp:1") -> None:
    """Log `message`; `where` is the ``file:line`` that BVLC Caffe prints for it."""
    _log("I", message, where)


def warning(message: str, where: str = "caffe.cpp:1") -> None:
    """Log a warning line."""
    _log("W", message, where)


def error(message: str, where: str = "caffe.cpp:1") -> None:
    """Log an error line."""
    _log("E", message, where)
