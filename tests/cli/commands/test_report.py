"""`caffecompat report`, and `train --report`."""

from __future__ import annotations

from pathlib import Path

import caffecompat


def test_report(golden: Path, tmp_path: Path, monkeypatch, command) -> None:
    monkeypatch.chdir(tmp_path)
    result = command("report", golden / "cli/train.log", "--pictures", "0")
    assert (result.status, result.out) == (0, "wrote report.html\n")
    assert "smoothed loss" in Path("report.html").read_text()
    result = command("report", golden / "cli/train.log", "--out", "page.png")
    assert result.status == 2 and "expected .html, .htm" in result.err
    result = command("report", "nothing", "--out", "page.html")
    assert result.status == 2 and "neither a log nor the prefix of snapshots" in result.err


def test_train_keeps_a_report(streets, command) -> None:
    words = ("train", "-solver", "solver_encoder.prototxt", "--set", "max_iter=2", "--set", "display=1")
    assert command(*words, "--report", "page").status == 0
    log = Path("page/train.log").read_text()
    assert "Command: caffecompat train -solver solver_encoder.prototxt" in log and "Versions: caffecompat " in log
    assert [row.iteration for row in caffecompat.parse_log("page/train.log").train][:2] == [0, 1]
    page = Path("page/report.html").read_text()
    assert f"caffecompat {caffecompat.__version__}, torch " in page and "max_iter=2 --set display=1" in page
    assert command(*words, "--report", "page", "--dry-run").status == 0
    assert Path("page/train.log").read_text() == log
