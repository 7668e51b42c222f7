"""A report that follows a training: its log in a file, and a page that is written again while it goes on."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from datetime import datetime

from caffecompat import glog
from caffecompat.formats.atomic import atomic_write, make_folder
from caffecompat.report.predictions import Prediction
from caffecompat.report.run_report import predictions_of, run_page
from caffecompat.report.runs import Run, find_runs, find_snapshots, log_of_lines

__all__ = ["live_report"]

_PAUSE = 2.0  # seconds from a page to the next, at least
_SHARE = 50  # a page takes no more than this part of the time
_LAST = 60.0  # seconds that the last page may take to be written
_NEWS = ("Iteration ", "net output", "Snapshotting", "Optimization ", "class")  # in a line after which a page is due
_PICTURES = 6


@contextlib.contextmanager
def live_report(folder: str | os.PathLike[str], *, resume: bool = False, pictures: int = _PICTURES) -> Iterator[None]:
    """Keep FOLDER/report.html up to date while what is inside trains, and its log in FOLDER/train.log.

    The page is what `report_runs` makes of the logs in the folder, without predictions until the end. It is made by a
    thread of its own from the lines that the package logs, at most every two seconds and in at most a fiftieth of the
    time, and is replaced as a whole. Whatever goes wrong with it is one warning, and never ends the training.

    Args:
        folder: made where it is not there.
        resume: the run goes on with one that has its log there already: lines are added to the newest. Otherwise that
            log stays, a new one is begun (train-2.log), and the page shows both.
        pictures: how many predictions the last page shows; 0 runs no net.

    >>> import caffecompat
    >>> with caffecompat.live_report("report"):
    ...     caffecompat.Solver("solver.prototxt").step(2)
    """
    logger = logging.getLogger("caffecompat")
    level = logger.level
    keeper = _Keeper(os.fspath(folder), resume)
    logger.addHandler(keeper)
    if not logger.isEnabledFor(logging.INFO):
        logger.setLevel(logging.INFO)
    keeper.thread.start()
    try:
        yield
    except BaseException:
        pictures = 0  # whoever waits for the error gets it at once
        raise
    finally:
        keeper.finish(pictures)
        logger.removeHandler(keeper)
        logger.setLevel(level)
        keeper.close()


class _Keeper(logging.Handler):
    """Takes the log's lines, writes them to a file, and has a thread make pages of them.

    Attributes:
        thread: that writes pages, until `finish`.
    """

    def __init__(self, folder: str, resume: bool) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(glog.GlogFormatter())
        self._folder = folder
        self._lines: list[str] = []
        self._before: list[Run] = []  # that have their logs there
        self._log, self._file = "", -1
        self._warned = self._ending = False
        self._news = threading.Event()
        self._end = threading.Event()
        self.thread = threading.Thread(target=self._work, name="caffecompat report", daemon=True)
        try:
            self._open(resume)
        except Exception as problem:  # a report is never worth a training
            self._warn(problem)

    def _open(self, resume: bool) -> None:
        make_folder(self._folder)
        logs, number = [], 1
        while os.path.exists(path := self._path(number)):
            logs.append(path)
            number += 1
        self._log = logs.pop() if resume and logs else self._path(number)
        if os.path.exists(self._log):
            with open(self._log, encoding="utf-8", errors="replace") as file:
                self._lines = file.readlines()
        for log in logs:
            with contextlib.suppress(Exception):  # one that was stopped before its first display
                self._before += find_runs([log])
        self._file = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

    def _path(self, number: int) -> str:
        return os.path.join(self._folder, f"train-{number}.log" if number > 1 else "train.log")

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line; from whatever thread or signal handler it comes."""
        try:
            line = f"{self.format(record)}\n"
            self._lines += line.splitlines(keepends=True)
            if self._file >= 0:
                os.write(self._file, line.encode("utf-8", "replace"))
        except Exception as problem:
            self._close_file()
            self._warn(problem)
        if any(word in record.getMessage() for word in _NEWS):
            self._news.set()

    def _work(self) -> None:
        """Write a page when there is news, and then pause for as long as that was expensive."""
        while not self._end.is_set():
            self._news.wait()
            self._news.clear()
            if self._end.is_set():
                return
            begin = time.perf_counter()
            self._write(0)
            self._end.wait(max(_PAUSE, (time.perf_counter() - begin) * _SHARE))

    def finish(self, pictures: int) -> None:
        """Write the last page; where that takes more than a minute, whoever waits goes on."""
        self._end.set()
        self._news.set()
        last = threading.Thread(target=self._finish, args=(pictures,), name="caffecompat last report", daemon=True)
        last.start()
        last.join(_LAST)
        if last.is_alive():
            self._warn(TimeoutError(f"it takes more than {_LAST:g} seconds"))

    def _finish(self, pictures: int) -> None:
        self.thread.join()
        self._ending = True
        self._write(pictures)

    def _write(self, pictures: int) -> None:
        try:
            run = log_of_lines(list(self._lines), os.path.splitext(os.path.basename(self._log))[0])
            if run.log is None:
                return
            run.paths = [self._log]
            find_snapshots(run, self._log)
            notes: list[str] = []
            shown = [(run.name, _predictions(run, pictures, notes))] if pictures else []
            updated = "" if self._ending else f"updated {datetime.now():%H:%M:%S}"
            page = run_page([*self._before, run], {}, shown, notes=notes, updated=updated)
            with atomic_write(os.path.join(self._folder, "report.html")) as file:
                file.write(page.encode())
        except Exception as problem:
            self._warn(problem)

    def _warn(self, problem: Exception) -> None:
        if not self._warned:
            self._warned = True
            reason = " ".join(str(problem).split()) or type(problem).__name__
            if isinstance(problem, OSError) and problem.strerror:
                reason = f"{problem.filename or self._log}: {problem.strerror}"
            glog.warning(f"no report of this training in {self._folder}: {reason}; the training itself goes on")

    def _close_file(self) -> None:
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = -1

    def close(self) -> None:
        """Close the log."""
        self._close_file()
        super().close()


def _predictions(run: Run, count: int, notes: list[str]) -> list[Prediction]:
    """Those of the run, or none and a note: whatever a net does, the rest of the page is written."""
    try:
        return predictions_of(run, count, notes)
    except Exception as problem:
        notes.append(f"no predictions: {type(problem).__name__}: {problem}")
        return []
