"""Lists and label pictures of VOC's segmentation."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

import caffecompat
from caffecompat.formats.image_list import read_pair_list
from tests import data_set_trees as trees
from tests.data.lists.reading import labels_of, lines_of


def test_palettes_become_class_numbers(folder: Path) -> None:
    trees.voc2012(folder)
    report = caffecompat.list_voc_segmentation("VOCdevkit", "lists")
    assert report.lists == {"lists/train.txt": 2, "lists/val.txt": 1, "lists/trainval.txt": 3}
    line = "VOC2012/JPEGImages/{0}.jpg VOC2012/SegmentationClassRaw/{0}.png"
    assert lines_of("lists/train.txt") == [line.format("2007_000001"), line.format("2007_000002")]
    labels = labels_of("VOCdevkit/VOC2012/SegmentationClassRaw/2007_000002.png")
    assert [sorted(set(row.tolist())) for row in labels] == [[0], [2], [2], [2], [2], [255]]
    assert lines_of("lists/classes.txt")[:2] == ["background", "aeroplane"] and len(lines_of("lists/classes.txt")) == 21
    assert (report.made, caffecompat.list_voc_segmentation("VOCdevkit", "again").made) == (3, 0)


def test_labels_may_lie_elsewhere(folder: Path) -> None:
    trees.voc2012(folder)
    report = caffecompat.list_voc_segmentation("VOCdevkit/VOC2012", "lists", labels="made")
    assert not Path("VOCdevkit/VOC2012/SegmentationClassRaw").exists()
    assert report.root_folder == f"{folder}/"
    assert lines_of("lists/val.txt") == [
        "VOCdevkit/VOC2012/JPEGImages/2007_000003.jpg made/SegmentationClassRaw/2007_000003.png"
    ]


def test_a_split_without_labels_is_a_list_of_pictures(folder: Path) -> None:
    year = trees.voc2012(folder)
    trees.picture(year / "JPEGImages/2008_000006.jpg")
    trees.text(year / "ImageSets/Segmentation/test.txt", "2008_000006")
    caffecompat.list_voc_segmentation(year, "lists")
    assert lines_of("lists/test.txt") == ["JPEGImages/2008_000006.jpg"]
    assert [entry.image for entry in read_pair_list("lists/test.txt", labels=False)] == lines_of("lists/test.txt")


def test_labels_that_cannot_be_made_are_named(folder: Path) -> None:
    year = trees.voc2012(folder)
    cv2.imwrite(str(year / "SegmentationClass/2007_000001.png"), np.eye(3, dtype=np.uint8)[None] * 90)
    (year / "SegmentationClass/2007_000002.png").unlink()
    report = caffecompat.list_voc_segmentation(year, "lists")
    assert list(report.lists) == ["lists/val.txt", "lists/trainval.txt"]
    missing = year / "SegmentationClass/2007_000002.png"
    assert report.skipped[0].endswith(f"train.txt:2: {missing} does not exist")
    assert "2007_000001.png shows colors; expected one channel" in report.skipped[-1]
    assert len(report.skipped) == 4  # of train and of trainval
