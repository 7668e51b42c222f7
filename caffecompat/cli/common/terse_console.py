"""A short console for a training: a line a display, test and snapshot, while Caffe's log goes into a file."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from collections.abc import Iterator

from caffecompat import glog

__all__ = ["TerseLines", "terse_console"]

_LINE = re.compile(r"([IWEF])\d{4} [\d:.]+ +\d+ [^\]]*\] (.*)", re.DOTALL)
_TESTING = re.compile(r"Iteration (\d+), Testing net \(#(\d+)\)")
_OUTPUT = re.compile(r" *Test net output .*?: (.*?)(?: \(\* .*)?$")
_DISPLAY = re.compile(r"Iteration (\d+)(?: \((\S+) iter/s,.*\))?.*\bloss = (\S+)")
_RATE = re.compile(r"Iteration \d+, lr = (\S+)")
_SNAPSHOT = re.compile(r"Snapshotting to .* file (.*)")
_PASSED_ON = ("Optimization stopped", "Resuming from ", "Test interrupted", "There is no ", "--resume auto")
_OUTPUTS = 6  # of one test; a class's score each would be many
_LEVELS = {"W": "warning", "E": "error", "F": "error"}


class TerseLines:
    """Makes short lines of a log's lines, as they come.

    >>> lines = TerseLines()
    >>> lines("I0706 13:22:47.513291  4945 solver.cpp:239] Iteration 50 (10.1 iter/s, 4.9s/50 iters), loss = 0.649")
    []
    >>> lines("I0706 13:22:47.513299  4945 sgd_solver.cpp:112] Iteration 50, lr = 0.01")
    ['iteration 50  loss 0.649  lr 0.01  10.1/s']
    """

    def __init__(self) -> None:
        self._test = ""
        self._outputs: list[str] = []
        self._display: tuple[str, str, str | None] | None = None  # iteration, loss, speed

    def __call__(self, line: str) -> list[str]:
        """What to show now that this line was logged."""
        found = _LINE.match(line)
        if found is None:
            return []
        level, text = found.groups()
        if level in _LEVELS:
            return [f"{_LEVELS[level]}: {text}"]
        if output := _OUTPUT.match(text):
            self._outputs.append(output[1].replace(" = ", " "))
            return []
        if rate := _RATE.match(text):
            return [*self._tested(), *self._displayed(f"  lr {rate[1]}")]
        shown = []
        if testing := _TESTING.match(text):
            shown = [*self._displayed(), *self._tested()]
            self._test = f"test at {testing[1]}" + (f" (#{testing[2]})" if testing[2] != "0" else "")
        elif display := _DISPLAY.match(text):
            shown = [*self._displayed(), *self._tested()]
            self._display = display[1], display[3], display[2]
        elif snapshot := _SNAPSHOT.match(text):
            named = "solver state" not in text  # a snapshot has both files, and one line
            shown = [*self._displayed(), *self._tested(), *([f"snapshot {snapshot[1]}"] if named else [])]
        elif text.startswith("Optimization Done"):  # which Caffe says twice
            shown = [*self._displayed(), *self._tested()]
        elif text.startswith(_PASSED_ON) or "the best " in text:
            shown = [*self._displayed(), *self._tested(), text]
        return shown

    def _displayed(self, rate: str = "") -> list[str]:
        if self._display is None:
            return []
        (iteration, loss, speed), self._display = self._display, None
        return [f"iteration {iteration}  loss {loss}{rate}" + (f"  {speed}/s" if speed not in (None, "0") else "")]

    def _tested(self) -> list[str]:
        if not self._outputs:
            return []
        more = f"  and {len(self._outputs) - _OUTPUTS} more" if len(self._outputs) > _OUTPUTS else ""
        shown = f"{self._test}: {'  '.join(self._outputs[:_OUTPUTS])}{more}"
        self._outputs = []
        return [shown]


@contextlib.contextmanager
def terse_console(path: str) -> Iterator[None]:
    """Append the log to a file, all of it, and show short lines on stderr meanwhile.

    A file that cannot be written is one warning, and Caffe's log stays on the console.
    """
    try:
        keeper = _LogFile(path)
    except OSError as problem:
        glog.warning(f"--console terse: {path} cannot be written ({problem.strerror}); the log stays here")
        yield
        return
    print(f"Caffe's log goes to {path}", file=sys.stderr)
    logger = logging.getLogger("caffecompat")
    logger.addHandler(keeper)
    glog.set_view(TerseLines())
    try:
        yield
    finally:
        glog.set_view(None)
        logger.removeHandler(keeper)
        keeper.close()


class _LogFile(logging.FileHandler):
    """The log in a file; where the disk is full, one warning, and what is logged from then on is on the console."""

    def __init__(self, path: str) -> None:
        super().__init__(os.path.abspath(path), encoding="utf-8", errors="backslashreplace")
        self._named = path
        self.setFormatter(glog.GlogFormatter())

    def handleError(self, record: logging.LogRecord) -> None:
        """Give up the file."""
        logging.getLogger("caffecompat").removeHandler(self)
        glog.set_view(None)
        glog.warning(f"{self._named} can no longer be written ({sys.exc_info()[1]}); the log goes on here")

    def close(self) -> None:
        """Close the file; what it still holds and a full disk refuses was warned about."""
        with contextlib.suppress(OSError):
            super().close()
