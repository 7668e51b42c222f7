"""A live line on a terminal (done, rate, time left, a note) while log lines scroll above it."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from caffecompat import glog
from caffecompat.errors import CaffeCompatError
from caffecompat.printable import printable, printable_lines
from caffecompat.wording import duration

__all__ = ["live_line", "no_line", "progress_flag", "progress_on"]

Update = Callable[[int, str], None]

_PAUSE = 10.0  # seconds from a line to the next where there is no terminal
_shown_on: Any = None  # the stream of `progress_on`


def progress_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--progress auto|always|never``."""
    parser.add_argument(
        "--progress", default="auto", metavar="WHEN", help="live line: auto (on a terminal), always, never"
    )


def no_line(done: int, note: str) -> None:
    """What `live_line` yields where there is none."""


@contextmanager
def progress_on(stream: Any) -> Iterator[None]:
    """Have the live lines of commands that run inside go to `stream`, whatever becomes of stderr and ``--progress``.

    Where it is no terminal, it gets a line every ten seconds, and one at the end.
    """
    global _shown_on
    before, _shown_on = _shown_on, stream
    try:
        yield
    finally:
        _shown_on = before


@contextmanager
def live_line(total: int, unit: str, when: str = "auto", start: int = 0) -> Iterator[Update]:
    """Yield ``update(done, note)``, which redraws the line; without a terminal it does nothing (but `progress_on`).

    Args:
        total: the count that means finished.
        unit: what is counted ("iter", "images").
        when: the value of ``--progress``.
        start: how much was done before, which the rate must not count.
    """
    if when not in ("auto", "always", "never"):
        raise CaffeCompatError(f"--progress is auto, always or never, not {when!r}")
    if _shown_on is not None and not _shown_on.isatty():
        with _lines(total, unit, start, _shown_on) as update:
            yield update
    elif _shown_on is None and (when == "never" or (when == "auto" and not sys.stderr.isatty())):
        yield no_line
    else:
        with _bar(total, unit, start, _shown_on or sys.stderr) as update:
            yield update


@contextmanager
def _bar(total: int, unit: str, start: int, stream: Any) -> Iterator[Update]:
    """The line on a terminal; log lines that share it go above."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    # The bar's own control characters reach the terminal, those of names in log lines and notes do not.
    console = Console(file=getattr(stream, "unescaped", stream), force_terminal=True)
    bar_width = 24 if console.width >= 110 else 12
    room = console.width - bar_width - len(f"{total}/{total} {unit} 0.123/s 0:00:00") - 6  # for the note
    columns = (
        BarColumn(bar_width=bar_width),
        MofNCompleteColumn(),
        TextColumn(unit + " {task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(
        *columns, console=console, transient=True, refresh_per_second=4, redirect_stdout=stream is sys.stderr,
        redirect_stderr=False,
    ) as bar:  # fmt: skip
        task = bar.add_task(unit, total=total, completed=start, note="", rate="")
        if stream is sys.stderr:
            glog.set_sink(
                lambda line: console.print(printable_lines(line), markup=False, highlight=False, soft_wrap=True)
            )

        def update(done: int, note: str) -> None:
            speed = bar.tasks[0].speed
            shown = printable(note)
            shown = shown if len(shown) <= room else f"{shown[: max(0, room - 1)]}…"
            bar.update(task, completed=done, note=shown, rate=f"{speed:.3g}/s" if speed else "")

        try:
            yield update
        finally:
            if stream is sys.stderr:
                glog.set_sink(None)


@contextmanager
def _lines(total: int, unit: str, start: int, stream: Any) -> Iterator[Update]:
    """A line every few seconds, by a thread: an update may be long in coming."""
    now: tuple[int, str] = start, ""
    begun, ended = time.monotonic(), threading.Event()

    def line() -> str:
        done, note = now
        passed = time.monotonic() - begun
        rate = (done - start) / passed if passed > 0 else 0.0
        parts = [f"{done}/{total} {unit}", *([f"{rate:.3g} a second"] if rate else [])]
        parts.append(f"{duration((total - done) / rate)} left" if rate and done < total else duration(passed))
        return "      " + ", ".join([*parts, *([note] if note else [])])

    def speak() -> None:
        while not ended.wait(_PAUSE):
            print(line(), file=stream, flush=True)

    def update(done: int, note: str) -> None:
        nonlocal now
        now = done, printable(note)

    thread = threading.Thread(target=speak, name="caffecompat progress", daemon=True)
    thread.start()
    try:
        yield update
    finally:
        ended.set()
        thread.join()
        print(line(), file=stream, flush=True)
