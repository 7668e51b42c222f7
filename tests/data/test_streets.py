"""Drawn street scenes: the same every time, every class in them, lists and files as the data layers want them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffecompat.data.street_scene import CLASSES, IGNORED, draw_scene
from caffecompat.data.streets import write_streets
from caffecompat.formats.image_list import read_pair_list
from caffecompat.formats.picture import read_picture
from caffecompat.report.palette import load_palette


def test_a_seed_and_a_number_give_the_same_scene() -> None:
    one, again, other = draw_scene(3, 5), draw_scene(3, 5), draw_scene(3, 6)
    np.testing.assert_array_equal(one.picture, again.picture)
    np.testing.assert_array_equal(one.labels, again.labels)
    assert (one.picture != other.picture).mean() > 0.5
    assert one.picture.shape == (128, 256, 3)
    assert one.labels.shape == (128, 256)


def test_labels_are_classes_or_ignored_and_every_class_occurs() -> None:
    counts = np.zeros(256, int)
    for number in range(12):
        scene = draw_scene(0, number)
        counts += np.bincount(scene.labels.ravel(), minlength=256)
        assert (scene.labels[[0, -1]] == IGNORED).all()
    assert set(np.flatnonzero(counts)) == {*range(len(CLASSES)), IGNORED}
    shares = counts / counts.sum()
    assert shares[: len(CLASSES)].min() > 0.002
    assert 0.02 < shares[IGNORED] < 0.15


def test_labels_follow_what_is_drawn() -> None:
    """Colors differ across the labels' edges more than inside: the two were drawn by the same strokes."""
    across, inside = [], []
    for number in range(4):
        scene = draw_scene(1, number)
        step = np.abs(np.diff(scene.picture.astype(int), axis=1)).sum(2)
        edge = np.diff(scene.labels.astype(int), axis=1) != 0
        across.append(step[edge].mean())
        inside.append(step[~edge].mean())
    assert np.mean(across) > 2 * np.mean(inside)


def test_sets_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = write_streets(tmp_path / "data", {"train": 3, "val": 2}, seed=7, width=64, height=32)
    monkeypatch.chdir(tmp_path)
    entries = read_pair_list(lists["val"])
    assert [entry.image for entry in entries] == ["data/val/000000.png", "data/val/000001.png"]
    scene = draw_scene(7, 4, 64, 32)  # sets go on counting: they share no scene
    np.testing.assert_array_equal(read_picture(entries[1].image), scene.picture)
    np.testing.assert_array_equal(read_picture(entries[1].label, None)[:, :, 0], scene.labels)
    assert len(read_pair_list(lists["train"])) == 3
    assert (tmp_path / "data/classes.txt").read_text().split() == list(CLASSES)
    palette = load_palette("data/palette.txt")
    assert palette.names == CLASSES
    assert palette.colors[0].tolist() == [128, 64, 128]
