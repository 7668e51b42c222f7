"""Palettes by name and from files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from caffecompat.errors import CaffeCompatError
from caffecompat.report.palette import load_palette, read_names


def test_cityscapes_and_its_swapped_twin() -> None:
    palette, swapped = load_palette("cityscapes"), load_palette("cityscapes-swapped")
    assert palette.colors[1].tolist() == [232, 35, 244]  # B, G, R of 244 35 232
    assert swapped.colors[1].tolist() == [244, 35, 232]
    assert len(palette.names) == 19
    assert (palette.name(6), palette.name(18), palette.name(19)) == ("traffic light", "bicycle", "class 19")


def test_the_default_depends_on_the_number_of_classes() -> None:
    assert load_palette(None, classes=19).names[0] == "road"
    assert load_palette(None, ("a", "b"), classes=2).names == ("a", "b")
    assert load_palette("voc").colors[15].tolist() == [128, 128, 192]  # person, R G B 192 128 128


@pytest.mark.parametrize(
    "line", ["1 2 3 red brick", "1,2,3 red brick", "red brick 1 2 3", "red brick: 1, 2, 3", "red brick,1,2,3"]
)
def test_lines_of_a_file(tmp_path: Path, line: str) -> None:
    (tmp_path / "p.txt").write_text(f"# a comment\n\n0 0 255\n{line}\n")
    palette = load_palette(str(tmp_path / "p.txt"))
    assert palette.names == ("class 0", "red brick")
    assert palette.colors[:2].tolist() == [[255, 0, 0], [3, 2, 1]]


def test_a_picture_of_colors(tmp_path: Path) -> None:
    colors = np.random.default_rng(0).integers(0, 256, (1, 256, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "lut.png"), colors)
    np.testing.assert_array_equal(load_palette(str(tmp_path / "lut.png")).colors, colors[0])


@pytest.mark.parametrize("line", ["1 2 red", "1 2 300 red", "red"])
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "p.txt").write_text(f"1 2 3 ok\n{line}\n")
    with pytest.raises(CaffeCompatError, match=r"p\.txt:2: expected 'R G B name'"):
        load_palette(str(tmp_path / "p.txt"))


def test_names(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("one\n\ntwo words\n")
    assert read_names(str(tmp_path / "names.txt")) == ("one", "two words")
    assert read_names("voc")[-1] == "tvmonitor"
    with pytest.raises(CaffeCompatError, match="cannot read the class names absent"):
        read_names("absent")


@pytest.mark.parametrize("line", ["9" * 5000 + " 1 1 x", "256 0 0 x", "a" + ", " * 60000, "1 2", "²  3 4 x"])
def test_lines_without_a_color(tmp_path: Path, line: str) -> None:
    (tmp_path / "p.txt").write_text(f"1 2 3 road\n{line}\n")
    with pytest.raises(CaffeCompatError, match=r"p\.txt:2: expected 'R G B name'"):
        load_palette(str(tmp_path / "p.txt"))
