"""`caffecompat draw`."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[3]


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


def test_large_nets_are_folded(tmp_path: Path, command) -> None:
    model, sizes = ROOT / "models/espnet/deploy.prototxt", {}
    for flag in ("--fold", "--nofold", ""):
        assert command("draw", model, tmp_path / "net.svg", *filter(None, [flag])).status == 0
        root = ElementTree.parse(tmp_path / "net.svg").getroot()
        texts = [element.text for element in root.iter() if element.text]
        sizes[flag] = float(root.attrib["width"])
        assert ("7 more blocks like the one before" in texts) == (flag != "--nofold")
    assert sizes[""] == sizes["--fold"] < 15000 < 28000 < sizes["--nofold"]


def test_folded_blocks_are_joined_to_the_rest(tmp_path: Path, command) -> None:
    assert command("draw", ROOT / "models/espnet/deploy.prototxt", tmp_path / "net.dot").status == 0
    lines = (tmp_path / "net.dot").read_text().splitlines()
    box = next(line.split()[0] for line in lines if "7 more blocks" in line)
    into, out = (
        [line for line in lines if line.startswith("n") and f"-> {box}" in line],
        [line for line in lines if line.startswith(f"{box} ->")],
    )
    assert len(into) == 1 and len(out) == 1  # residual blocks: one value in, one out


def test_page(golden: Path, tmp_path: Path, command) -> None:
    model = golden / "cli/train_val.prototxt"
    result = command("draw", model, "--html", tmp_path / "net.html", "--phase", "train")
    assert (result.status, result.out) == (0, f"wrote {tmp_path}/net.html\n")
    text = (tmp_path / "net.html").read_text()
    assert "phase TRAIN" in text and '"name":"conv1"' in text
    both = command("draw", model, tmp_path / "net.svg", "--html", tmp_path / "net.html")
    assert both.out == f"wrote {tmp_path}/net.svg\nwrote {tmp_path}/net.html\n"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "what to write?"),
        (["o.html"], "has the ending of a page"),
        (["--html", "o.svg"], "has the ending of a picture"),
        (["o.svg", "--weights", "w.caffemodel"], "--weights needs --html FILE"),
        (["o.svg", "--rankdir", "up"], "expected LR, TB, BT, RL"),
        (["o.svg", "--phase", "both"], "expected TRAIN, TEST, ALL"),
        (["o.xyz"], "xyz"),
    ],
)
def test_mistakes(golden: Path, tmp_path: Path, monkeypatch, command, flags: list[str], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    result = command("draw", golden / "cli/train_val.prototxt", *flags)
    assert result.status == 2 and message in result.err
