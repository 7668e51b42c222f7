"""A live line on a terminal (done, rate, time left, a note) while log lines scroll above it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from caffecompat import glog
from caffecompat.errors import CaffeCompatError

__all__ = ["live_line", "progress_flag"]

Update = Callable[[int, str], None]


def progress_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--progress auto|always|never``."""
    parser.add_argument(
        "--progress", default="auto", metavar="WHEN", help="live line: auto (on a terminal), always, never"
    )


@contextmanager
def live_line(total: int, unit: str, when: str = "auto", start: int = 0) -> Iterator[Update]:
    """Yield ``update(done, note)``, which redraws the line; without a terminal it does nothing.

    Args:
        total: the count that means finished.
        unit: what is counted ("iter", "images").
        when: the value of ``--progress``.
        start: how much was done before, which the rate must not count.
    """
    if when not in ("auto", "always", "never"):
        raise CaffeCompatError(f"--progress is auto, always or never, not {when!r}")
    if when == "never" or (when == "auto" and not sys.stderr.isatty()):
        yield lambda done, note: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, force_terminal=True if when == "always" else None)
    columns = (
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn(unit + " {task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True, refresh_per_second=4) as bar:
        task = bar.add_task(unit, total=total, completed=start, note="", rate="")
        glog.set_sink(lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True))

        def update(done: int, note: str) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, completed=done, note=note, rate=f"{speed:.3g}/s" if speed else "")

        try:
            yield update
        finally:
            glog.set_sink(None)
