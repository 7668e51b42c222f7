"""Overlays, legends, comparison sheets, score curves, and where the boxes of a net's picture stand."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from caffecompat.report.comparison import comparison
from caffecompat.report.layered_layout import lay_out
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
def test_a_legend_shows_every_color_in_as_many_rows_as_it_takes(width: int) -> None:
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


def _residual_net(blocks: int) -> tuple[dict[str, tuple[float, float]], list[tuple[str, str]]]:
    """Blocks that lean to one side: a branch of three wide layers, each with a layer in place, beside nothing."""
    sizes, edges = {"in": (30.0, 40.0)}, []
    last = "in"
    for block in range(blocks):
        at = last
        for layer in range(3):
            name, inplace = f"{block}c{layer}", f"{block}r{layer}"
            sizes |= {name: (30.0, 200.0), inplace: (30.0, 100.0)}
            edges += [(at, name), (name, inplace)]
            at = name
        add = f"{block}add"
        sizes[add] = (30.0, 60.0)
        edges += [(last, add), (at, add)]
        last = add
    return sizes, edges


def test_a_deep_net_stays_on_its_axis() -> None:
    sizes, edges = _residual_net(12)
    layout = lay_out(sizes, edges)
    joints = [layout.centers[f"{block}add"][1] for block in range(12)]
    assert max(joints) - min(joints) < 40
    assert layout.size[1] < 1000


def test_edges_pass_beside_the_nodes() -> None:
    sizes, edges = _residual_net(3)
    layout = lay_out(sizes, edges)
    for (start, end), bends in zip(edges, layout.bends, strict=True):
        points = [layout.centers[start], *bends, layout.centers[end]]
        for (x0, y0), (x1, y1) in pairwise(points):
            for share in np.linspace(0, 1, 41):
                x, y = x0 + share * (x1 - x0), y0 + share * (y1 - y0)
                for key, (along, across) in layout.centers.items():
                    depth, width = sizes[key]
                    inside = abs(x - along) < depth / 2 - 1e-6 and abs(y - across) < width / 2 - 1e-6
                    assert not inside or key in (start, end), (start, end, key)


def test_labels_have_room_beside_the_nodes() -> None:
    layout = lay_out({"a": (30.0, 30.0), "b": (30.0, 30.0)}, [("a", "b")], [120.0])
    assert layout.centers["b"][0] - layout.centers["a"][0] >= 150
