"""Overlays, legends, comparison sheets and score curves."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from caffecompat.report.comparison import comparison
from caffecompat.report.overlay import legend, overlay
from caffecompat.report.palette import load_palette
from caffecompat.report.plots import PlotError, score_curve

_PALETTE = load_palette("cityscapes")


def test_overlay_blends() -> None:
    picture, classes = np.full((4, 5, 3), 100, np.uint8), np.full((4, 5), 13, np.uint8)
    assert overlay(picture, classes, _PALETTE, 0.5)[0, 0].tolist() == [121, 50, 50]
    assert (overlay(picture, classes, _PALETTE, 0) == 100).all()
    assert overlay(picture, classes, _PALETTE, 1)[3, 4].tolist() == [142, 0, 0]


@pytest.mark.parametrize("width", [120, 700, 2048])
def test_a_legend_shows_every_colour_in_as_many_rows_as_it_takes(width: int) -> None:
    strip = legend(_PALETTE, range(19), width)
    assert strip.shape[1:] == (width, 3)
    drawn = {tuple(color) for color in strip.reshape(-1, 3).tolist()}
    assert {tuple(color) for color in _PALETTE.colors[:19].tolist()} <= drawn
    assert legend(_PALETTE, [], width).shape == (0, width, 3)


def test_a_comparison_has_a_row_a_case() -> None:
    pictures = [np.full((10, 20, 3), value, np.uint8) for value in (0, 90, 180)]
    sheet = comparison([(pictures, "one"), (pictures, "two")], ("a", "b", "c"), load_palette("voc"), size=64)
    assert sheet.shape[1] > 3 * 64
    assert sheet.shape[0] > 2 * 32


def test_the_same_scores_give_the_same_file(tmp_path: Path) -> None:
    series = {"mIoU": [(10.0, 0.1), (20.0, 0.4), (30.0, 0.3)]}
    for name in ("a.svg", "b.svg"):
        score_curve(tmp_path / name, series, "title")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert "0.4000 at 20" in (tmp_path / "a.svg").read_text()


def test_no_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(PlotError, match=r"pip install 'caffecompat\[plot\]'"):
        score_curve(tmp_path / "a.png", {"mIoU": [(1.0, 0.5)]})


def test_an_unknown_kind_of_file(tmp_path: Path) -> None:
    with pytest.raises(PlotError, match=r"ends in \.png, \.svg or \.pdf"):
        score_curve(tmp_path / "a.txt", {"mIoU": [(1.0, 0.5)]})
