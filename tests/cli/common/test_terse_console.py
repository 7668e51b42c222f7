"""`train --console terse`: a line a display, test and snapshot; all of Caffe's log in a file beside the snapshots."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from caffecompat import glog
from caffecompat.cli.common.terse_console import TerseLines, terse_console
from caffecompat.report.log_parser import parse_log

NET = """
layer { name: "data" type: "DummyData" top: "data" top: "label"
  dummy_data_param { shape { dim: 2 dim: 3 } shape { dim: 2 }
    data_filler { type: "constant" value: 1 } data_filler { type: "constant" } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" include { phase: TEST } }
"""
SOLVER = """
net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 4 display: 2 test_iter: 1 test_interval: 2
test_initialization: false snapshot: 4 snapshot_prefix: "out/tiny" random_seed: 1
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    Path("solver.prototxt").write_text(SOLVER)
    Path("out").mkdir()
    return tmp_path


def test_short_lines_here_and_the_log_beside_the_snapshots(command, folder: Path) -> None:
    result = command("train", "--solver", "solver.prototxt", "--console", "terse")
    assert result.status == 0
    lines = result.err[result.err.index("Caffe's log goes to out/tiny.log") :].splitlines()[1:]
    number = r"[\d.e-]+"
    expected = [
        f"iteration 0  loss {number}  lr 0.1",
        f"test at 2: accuracy {number}  loss {number}",
        f"iteration 2  loss {number}  lr 0.1  {number}/s",
        "snapshot out/tiny_iter_4.caffemodel",
        f"iteration 4  loss {number}",
        f"test at 4: accuracy {number}  loss {number}",
    ]
    assert len(lines) == len(expected)
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(pattern, line), line
    log = Path("out/tiny.log").read_text()
    assert "Creating layer" in log.replace("Creating Layer", "Creating layer") and "Optimization Done." in log
    assert [row.iteration for row in parse_log("out/tiny.log").train][:2] == [0, 2]
    # A second run adds its log; without the flag nothing goes into the file, and Caffe's log is on stderr.
    size = len(log)
    assert command("train", "--solver", "solver.prototxt", "--console", "terse").status == 0
    size, before = Path("out/tiny.log").stat().st_size, size
    assert size > 1.5 * before
    plain = command("train", "--solver", "solver.prototxt")
    assert "] Iteration 2, lr = 0.1" in plain.err and Path("out/tiny.log").stat().st_size == size


def test_warnings_and_errors_are_shown_whole() -> None:
    lines = TerseLines()
    assert lines("W0706 13:22:47.513291  4945 net.cpp:1] a.prototxt:3:1: has no effect") == [
        "warning: a.prototxt:3:1: has no effect"
    ]
    assert lines("E0706 13:22:47.513291  4945 net.cpp:1] broken") == ["error: broken"]
    assert lines("I0706 13:22:47.513291  4945 net.cpp:1] Creating Layer conv1") == []


def test_a_test_of_many_outputs_is_one_line() -> None:
    lines = TerseLines()
    start = "I0706 13:22:47.513291  4945 solver.cpp:347] "
    assert lines(f"{start}Iteration 100, Testing net (#1)") == []
    for index in range(8):
        assert lines(f"{start}    Test net output #{index}: score{index} = 0.{index} (* 1 = 0.{index} loss)") == []
    (line,) = lines(f"{start}Snapshotting to binary proto file x_iter_100.caffemodel")[:1]
    assert line.startswith("test at 100 (#1): score0 0.0  score1 0.1") and line.endswith("score5 0.5  and 2 more")


def test_a_log_that_cannot_be_written_stays_on_the_console(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with terse_console("nowhere/x.log"):
        glog.info("still here")
    error = capsys.readouterr().err
    assert "--console terse: nowhere/x.log cannot be written" in error and "] still here" in error


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_one_warning(capsys: pytest.CaptureFixture[str]) -> None:
    with terse_console("/dev/full"):
        glog.info("one")
        glog.info("two")
    error = capsys.readouterr().err
    assert error.count("can no longer be written") == 1 and "] two" in error


def test_the_live_line_reaches_a_terminal_as_it_is_meant(folder: Path) -> None:
    """Its control characters move the cursor; they are no text to read, as those of names are."""
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "caffecompat", "train", "--solver", "solver.prototxt", "--console", "terse"]
    run = subprocess.Popen(words, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "80"})
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # the other side is closed
        pass
    os.close(ours)
    assert run.wait() == 0
    assert b"\x1b[2K" in shown and b"\\x1b" not in shown
    assert b"4/4" in shown and b"snapshot out/tiny_iter_4.caffemodel" in shown
