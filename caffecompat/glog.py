"""The package's log: Python's ``logging``, with the places in Caffe's source that glog prints.

The library logs to the logger ``caffecompat`` and leaves it to its user what becomes of that (Python alone shows
warnings, without a form). `configure_logging` writes it as Caffe does, for its parsers: the command line and pycaffe
call it. ``I0706 13:22:47.513291  4945 solver.cpp:270] message`` on stderr: severity, month and day, local time, thread
id in at least five columns, the C++ file and line that prints the line in BVLC Caffe. Parsers look at the text after
``]``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime

__all__ = [
    "GlogFormatter",
    "configure_logging",
    "error",
    "info",
    "number",
    "set_min_level",
    "set_sink",
    "set_view",
    "warning",
]

_LOGGER = logging.getLogger("caffecompat")
_SEVERITIES = ((logging.CRITICAL, "F"), (logging.ERROR, "E"), (logging.WARNING, "W"))


def number(value: float) -> str:
    """A float as C++ streams print it: six significant digits, ``%g`` style."""
    return f"{value:.6g}"


def info(message: str, where: str = "caffe.cpp:1") -> None:
    """Log `message`; `where` is the ``file:line`` that BVLC Caffe prints for it."""
    _LOGGER.info(message, extra={"where": where}, stacklevel=2)


def warning(message: str, where: str = "caffe.cpp:1") -> None:
    """Log a warning line."""
    _LOGGER.warning(message, extra={"where": where}, stacklevel=2)


def error(message: str, where: str = "caffe.cpp:1") -> None:
    """Log an error line."""
    _LOGGER.error(message, extra={"where": where}, stacklevel=2)


class GlogFormatter(logging.Formatter):
    """Records as glog's lines; a record without Caffe's place has the Python module's."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end; made by the thread that logs."""
        severity = _severity(record)
        where = getattr(record, "where", f"{record.filename}:{record.lineno}")
        time = datetime.fromtimestamp(record.created)
        return f"{severity}{time:%m%d %H:%M:%S.%f} {threading.get_native_id():>5} {where}] {record.getMessage()}"


def _severity(record: logging.LogRecord) -> str:
    return next((letter for level, letter in _SEVERITIES if record.levelno >= level), "I")


def configure_logging() -> None:
    """Write the log to stderr in glog's form, as Caffe and the command line do; again is harmless.

    Lines below ``GLOG_minloglevel`` (environment; 0 all, 1 from warnings on, 2 from errors on) are left out. Handlers
    of the root logger no longer get the package's records.

    >>> import caffecompat
    >>> caffecompat.configure_logging()
    >>> net = caffecompat.Net("deploy.prototxt", "TEST")  # stderr: I0706 13:22:47.513291  4945 net.cpp:86] Creating ...
    """
    if _HANDLER not in _LOGGER.handlers:
        _LOGGER.addHandler(_HANDLER)
    _LOGGER.setLevel(logging.INFO)
    _LOGGER.propagate = False


def set_sink(sink: Callable[[str], None] | None) -> None:
    """Have `configure_logging`'s lines go to `sink` (a live display, a test); ``None`` is stderr again."""
    _HANDLER.sink = sink or _stderr


def set_view(view: Callable[[str], list[str]] | None) -> None:
    """Have `configure_logging` write what `view` makes of each line, as a terse console does; ``None``: the line."""
    _HANDLER.view = view


def set_min_level(level: int | None) -> None:
    """Write lines from this severity on (0 info, 1 warning, 2 error); ``None`` leaves it to ``GLOG_minloglevel``."""
    _HANDLER.min_level = level


def _stderr(line: str) -> None:
    if sys.stderr is None:
        return
    # A full disk below its log, a reader or a terminal that has gone, a closed stream: nothing of it ends a training.
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"{line}\n")  # at once, so that neither a thread nor Ctrl-C comes between line and end
        sys.stderr.flush()


class _GlogHandler(logging.Handler):
    """Writes glog's lines to whatever stderr is at the time."""

    def __init__(self) -> None:
        super().__init__()
        self.sink: Callable[[str], None] = _stderr
        self.view: Callable[[str], list[str]] | None = None
        self.min_level: int | None = None
        self._held_back: deque[str] = deque()  # of signal handlers that came while another line was being written
        self.setFormatter(GlogFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record's line, after those that wait."""
        if self._is_muted(record):
            return
        self._held_back.append(self.format(record))
        while self._held_back:
            line = self._held_back.popleft()
            try:
                self._write(line)
            except RuntimeError as problem:
                if "reentrant" not in str(problem):
                    raise
                self._held_back.appendleft(line)  # follows the line being written: the loop below on the stack puts it
                return

    def _write(self, line: str) -> None:
        for shown in [line] if self.view is None else self.view(line):
            self.sink(shown)

    def _is_muted(self, record: logging.LogRecord) -> bool:
        """Whether the least severity is higher; the environment is read again, as scripts set it where they like."""
        least = os.environ.get("GLOG_minloglevel", "0") if self.min_level is None else str(self.min_level)  # noqa: SIM112
        return least.isdigit() and "IWEF".index(_severity(record)) < int(least)


_HANDLER = _GlogHandler()
