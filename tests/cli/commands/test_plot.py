"""`caffecompat plot`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest


def test_pictures(golden: Path, tmp_path: Path, command) -> None:
    pytest.importorskip("matplotlib")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copy(golden / "cli/train.log", tmp_path / name)
    result = command("plot", tmp_path / "a/train.log", tmp_path / "b/train.log", tmp_path / "o.svg", "--y", "top3")
    assert (result.status, result.out) == (0, f"wrote {tmp_path}/o.svg\n")
    assert "a/train.log: test top3" in (tmp_path / "o.svg").read_text(), "as much of the folder as tells them apart"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["train.log"], "needs a log and a picture to write"),
        (["train.log", "o.png", "--x", "epochs"], "expected iterations or seconds"),
        (["train.log", "o.xyz"], "a plot's name ends in .png"),
        (["absent.log", "o.png"], "cannot read the log absent.log"),
        (["train.log", "train.log", "o.png"], "a log is named twice"),
    ],
)
def test_mistakes(golden: Path, monkeypatch: pytest.MonkeyPatch, command, flags: list[str], message: str) -> None:
    monkeypatch.chdir(golden / "cli")
    result = command("plot", *flags)
    assert result.status == 2 and message in result.err


def test_the_extra_is_named(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = command("plot", golden / "cli/train.log", tmp_path / "o.png")
    assert result.status == 2 and "pip install 'caffecompat[plot]'" in result.err
