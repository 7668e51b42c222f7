"""The package's log: records of Python's ``logging``, and their form on the command line and in pycaffe."""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from caffecompat import glog

NET = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 } } }'
PREFIX = r"I\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ "


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


@pytest.fixture
def lines() -> Iterator[list[str]]:
    taken: list[str] = []
    glog.set_sink(taken.append)
    yield taken
    glog.set_sink(None)


def test_the_form_of_a_line(lines: list[str]) -> None:
    glog.info("100%d of two\nlines", "net.cpp:86")
    assert re.fullmatch(PREFIX + r"net\.cpp:86\] 100%d of two\nlines", lines[0])
    assert int(lines[0].split()[2]) == threading.get_native_id()
    logging.getLogger("caffecompat.mine").error("%d of %s", 3, "four")
    assert re.fullmatch(r"E\d{4} .*test_glog\.py:\d+\] 3 of four", lines[1])
    logging.getLogger("caffecompat").critical("the end")
    assert [line[0] for line in lines] == ["I", "E", "F"]
    logging.getLogger("caffecompat").debug("not of interest")
    assert len(lines) == 3


def test_records_name_the_module_that_logs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from caffecompat import Net

    (tmp_path / "net.prototxt").write_text(NET)
    package = logging.getLogger("caffecompat")
    package.addHandler(caplog.handler)
    try:
        Net(str(tmp_path / "net.prototxt"), "TEST")
    finally:
        package.removeHandler(caplog.handler)
    place = next(record for record in caplog.records if record.getMessage() == "Creating Layer data")
    assert (place.levelname, place.name, place.module) == ("INFO", "caffecompat", "log")
    assert vars(place)["where"] == "net.cpp:86"


def _run(script: str, folder: Path, **environment: str) -> tuple[str, list[str]]:
    (folder / "net.prototxt").write_text(NET)
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, cwd=folder, env={**_environment(), **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr.splitlines()


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}


MAKE = "net = {0}.Net('net.prototxt', {0}.TEST)"


def test_the_library_is_silent_until_somebody_listens(tmp_path: Path) -> None:
    make = "caffecompat.Net('net.prototxt', 'TEST')"
    assert _run(f"import caffecompat; {make}", tmp_path)[1] == []
    standard = f"import caffecompat, logging; logging.basicConfig(level='INFO'); {make}"
    assert "INFO:caffecompat:Creating Layer data" in _run(standard, tmp_path)[1]
    lines = _run(f"import caffecompat; caffecompat.configure_logging(); {make}", tmp_path)[1]
    assert any(re.fullmatch(PREFIX + r"net\.cpp:86\] Creating Layer data", line) for line in lines)


def test_warnings_are_shown_to_everybody(tmp_path: Path) -> None:
    (tmp_path / "odd.prototxt").write_text(
        NET + "\n" + 'layer { name: "r" type: "ReLU" bottom: "data" top: "r" lrn_param { } }'
    )
    script = "import caffecompat; caffecompat.Net('odd.prototxt', 'TEST')"
    assert any("odd.prototxt:2" in line for line in _run(script, tmp_path)[1])


@pytest.mark.parametrize(
    "script",
    [
        f"import caffecompat.pycaffe as caffe; {MAKE.format('caffe')}",
        f"import caffecompat.pycaffe as c; c.install(); import caffe; {MAKE.format('caffe')}",
        # A program with a log of its own gets Caffe's lines once, and not into that.
        f"import logging; logging.basicConfig(); import caffecompat.pycaffe as caffe; {MAKE.format('caffe')}",
    ],
)
def test_pycaffe_logs_as_caffe_does(script: str, tmp_path: Path) -> None:
    lines = _run(script, tmp_path)[1]
    assert sum("Creating Layer data" in line for line in lines) == 1
    assert re.match(PREFIX, lines[0])
    assert _run(script, tmp_path, GLOG_minloglevel="1")[1] == []
