"""Lists and label pictures of Cityscapes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

import caffecompat
from caffecompat.data.lists import cityscapes
from tests import data_set_trees as trees
from tests.data.lists.reading import labels_of, lines_of


def test_ids_become_train_ids(folder: Path) -> None:
    base = trees.cityscapes(folder)
    report = caffecompat.list_cityscapes("cityscapes", "lists")
    assert (report.lists, report.made) == ({"lists/train.txt": 2, "lists/val.txt": 1}, 3)
    line = "leftImg8bit/train/{1}/{0}_leftImg8bit.png gtFine/train/{1}/{0}_gtFine_labelTrainIds.png"
    assert lines_of("lists/train.txt") == [
        line.format("aachen_000000_000019", "aachen"),
        line.format("ulm_000001_000019", "ulm"),
    ]
    ids = np.arange(48).reshape(6, 8) % 34
    trained = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    expected = np.vectorize(lambda key: trained.index(key) if key in trained else 255)(ids)
    made = labels_of(base / "gtFine/train/ulm/ulm_000001_000019_gtFine_labelTrainIds.png")
    assert (made == expected).all()
    names = lines_of("lists/classes.txt")
    assert (len(names), names[0], names[13], names[18]) == (19, "road", "car", "bicycle")


def test_train_ids_that_are_there_are_kept(folder: Path) -> None:
    base = trees.cityscapes(folder)
    there = base / "gtFine/val/bonn/bonn_000000_000019_gtFine_labelTrainIds.png"
    there.write_bytes(b"as it was")
    (base / "gtFine/val/bonn/bonn_000000_000019_gtFine_labelIds.png").unlink()
    report = caffecompat.list_cityscapes("cityscapes", "lists", labels="made")
    assert there.read_bytes() == b"as it was"
    assert lines_of("lists/val.txt")[0].endswith(f" {there.relative_to(folder)}")
    assert lines_of("lists/train.txt")[0].endswith(
        " made/gtFine/train/aachen/aachen_000000_000019_gtFine_labelTrainIds.png"
    )
    assert (report.made, report.skipped) == (2, [])


def test_a_split_without_labels_is_a_list_of_pictures(folder: Path) -> None:
    base = trees.cityscapes(folder)
    trees.picture(base / "leftImg8bit/test/berlin/berlin_000000_000019_leftImg8bit.png")
    caffecompat.list_cityscapes("cityscapes", "lists")
    assert lines_of("lists/test.txt") == ["leftImg8bit/test/berlin/berlin_000000_000019_leftImg8bit.png"]


def test_what_is_left_out_is_named(folder: Path) -> None:
    base = trees.cityscapes(folder)
    (base / "leftImg8bit/train/ulm/Thumbs.db").write_bytes(b"x")
    (base / "gtFine/train/ulm/ulm_000001_000019_gtFine_labelIds.png").unlink()
    cv2.imwrite(
        str(base / "gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png"), np.full((6, 8), 70, np.uint8)
    )
    report = caffecompat.list_cityscapes("cityscapes", "lists")
    assert list(report.lists) == ["lists/val.txt"]
    assert [why.rpartition("/")[2] for why in report.skipped] == [
        "Thumbs.db: its name does not end in _leftImg8bit.png",
        "ulm_000001_000019_gtFine_labelIds.png does not exist",
        "aachen_000000_000019_gtFine_labelIds.png has the value 70; Cityscapes' label ids are 0 to 33",
    ]


def test_the_table_is_cityscapes_own() -> None:
    assert len(cityscapes._CLASSES) == 19 and (cityscapes._TRAIN_IDS != 255).sum() == 19
