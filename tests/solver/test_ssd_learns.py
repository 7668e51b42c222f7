"""An SSD from drawn pictures to mean average precision: database, sampled crops, training, saved results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from caffecompat.cli.main import main
from caffecompat.solver import Solver
from tests.solver.shapes_ssd import write_training


def test_a_detector_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, record_property) -> None:
    monkeypatch.chdir(tmp_path)
    write_training()
    solver = Solver("solver.prototxt")
    solver.step(280)
    scores = solver.test(0)
    assert scores is not None
    mean = scores["detection_eval"][0]
    record_property("measured", f"SSD on 300 drawn pictures, 280 iterations: mAP {mean:.3f}")
    assert mean > 0.5

    capsys.readouterr()
    words = ("--results", "saved/found.json", "--list", "shapes/test.txt", "--root-folder", "shapes")
    assert main(["eval", "detection", "--json", *words, "--labelmap", "shapes/labelmap.prototxt"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["pictures"] == 50
    assert result["mAP"]["11point"] == pytest.approx(mean, abs=0.02)
    assert result["coco"]["AP50"] > 0.45
