"""Scores of several nets by name: none is lost where classes are called alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffecompat.evaluate.quantized import compare_scores, headline
from tests.api_examples import write_examples


def test_names_that_come_twice_or_are_those_of_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_examples()
    nets = [("deploy.prototxt", "net.caffemodel")]
    plain = [one.name for one in compare_scores(nets, "list.txt")]
    assert plain[:2] == ["class 0", "class 1"]
    for names in (["crane", "crane"], ["mIoU", "top-1"], ["class 1", ""], ["pixel accuracy", "a"]):
        found = [one.name for one in compare_scores(nets, "list.txt", names=names)]
        assert len(set(found)) == len(found) == len(plain)
        assert headline(found) == "top-1"
