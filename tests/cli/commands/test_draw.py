"""`caffecompat draw`."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest


def test_pictures(golden: Path, tmp_path: Path, command) -> None:
    model = golden / "cli/train_val.prototxt"
    for kind in ("svg", "png", "dot"):
        result = command("draw", model, tmp_path / f"net.{kind}", "--rankdir", "tb")
        assert (result.status, result.out) == (0, f"wrote {tmp_path}/net.{kind}\n")
    texts = {element.text for element in ElementTree.parse(tmp_path / "net.svg").iter() if element.text}
    assert any("conv1" in text for text in texts) and any("accuracy" in text for text in texts)
    assert (tmp_path / "net.png").read_bytes()[1:4] == b"PNG"
    assert "rankdir=TB;" in (tmp_path / "net.dot").read_text()


def test_phase_and_multipliers(golden: Path, tmp_path: Path, command) -> None:
    model, out = golden / "cli/train_val.prototxt", tmp_path / "net.dot"
    assert command("draw", model, out).status == 0
    assert "accuracy" in out.read_text() and "lr mult" not in out.read_text()
    assert command("draw", model, out, "--phase=TRAIN", "--display_lrm").status == 0
    assert "accuracy" not in out.read_text() and "lr mult" in out.read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["o.svg", "--rankdir", "up"], "expected LR, TB, BT, RL"),
        (["o.svg", "--phase", "both"], "expected TRAIN, TEST, ALL"),
        (["o.xyz"], "xyz"),
    ],
)
def test_mistakes(golden: Path, tmp_path: Path, monkeypatch, command, flags: list[str], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    result = command("draw", golden / "cli/train_val.prototxt", *flags)
    assert result.status == 2 and message in result.err
