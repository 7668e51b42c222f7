"""Log lines that come while another is being written."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from caffecompat import glog


class _Interrupted(io.RawIOBase):
    """A file that logs while it is written to, as a signal handler does."""

    def __init__(self) -> None:
        self.text = b""
        self.handlers = ["Stop requested", "and once more"]

    def writable(self) -> bool:
        return True

    def write(self, part: Any, /) -> int:
        waiting, self.handlers = self.handlers, []
        for message in waiting:
            glog.info(message)
        self.text += bytes(part)
        return len(part)


def test_lines_of_a_signal_handler_follow_the_line_being_written(monkeypatch: pytest.MonkeyPatch) -> None:
    file = _Interrupted()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BufferedWriter(file), line_buffering=True))
    glog.info("Iteration 1")
    glog.info("Iteration 2")
    said = [line.partition("] ")[2] for line in file.text.decode().splitlines()]
    assert said == ["Iteration 1", "Stop requested", "and once more", "Iteration 2"]


def test_other_errors_of_a_sink_are_not_hidden() -> None:
    def broken(line: str) -> None:
        raise RuntimeError("no display")

    glog.set_sink(broken)
    try:
        with pytest.raises(RuntimeError, match="no display"):
            glog.info("a line")
    finally:
        glog.set_sink(None)
