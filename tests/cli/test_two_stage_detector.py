"""Verbs on a two-stage detector."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.net.faster_rcnn import CPP_PROPOSAL, PYTHON_PROPOSAL, prototxt


@pytest.mark.parametrize("proposal", [PYTHON_PROPOSAL, CPP_PROPOSAL], ids=["python", "C++"])
def test_the_command_line_takes_the_net(
    proposal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.prototxt").write_text(prototxt(proposal, 16, 176, 256))
    Path("b.prototxt").write_text(prototxt(proposal, 16, 176, 256).replace("pooled_w: 7", "pooled_w: 5"))
    result = command("summary", "a.prototxt")
    assert result.status == 0, result.err
    (line,) = [line for line in result.out.splitlines() if line.startswith("roi_pool5 ")]
    assert line.split()[:2] == ["roi_pool5", "ROIPooling"]
    result = command("diff", "a.prototxt", "b.prototxt")
    assert result.status == 1 and "pooled_w" in result.out
    result = command("export", "deploy", "--model", "a.prototxt", "c")
    assert result.status == 0, result.err
    assert "ROIPooling" in Path("c.prototxt").read_text()
