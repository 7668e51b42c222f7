"""Lists of VOC laid out as it is published: they equal the expected ones, line for line."""

from __future__ import annotations

from pathlib import Path

import caffecompat
from caffecompat.formats.label_map import read_label_map
from tests import data_set_trees as trees
from tests.data.lists.reading import lines_of


def _voc(name: str) -> str:
    return f"VOC2012/JPEGImages/{name}.jpg VOC2012/Annotations/{name}.xml"


def test_lists_are_the_splits(folder: Path) -> None:
    trees.voc2012(folder)
    report = caffecompat.list_voc("VOCdevkit", "lists")
    assert report.lists == {"lists/train.txt": 3, "lists/val.txt": 2, "lists/trainval.txt": 5}
    assert (report.root_folder, report.skipped) == ("VOCdevkit/", [])
    assert lines_of("lists/train.txt") == [_voc("2008_000001"), _voc("2007_000001"), _voc("2007_000002")]
    assert lines_of("lists/val.txt") == [_voc("2008_000002"), _voc("2007_000003")]
    names = read_label_map("lists/labelmap.prototxt").names
    assert (names[0], names[1], names[15], names[20], len(names)) == (
        "none_of_the_above", "aeroplane", "person", "tvmonitor", 21,
    )  # fmt: skip


def test_years_follow_each_other(folder: Path) -> None:
    year = trees.voc2012(folder)
    trees.voc_xml(folder / "VOCdevkit/VOC2007/Annotations/000005.xml", "dog")
    trees.picture(folder / "VOCdevkit/VOC2007/JPEGImages/000005.jpg")
    trees.text(folder / "VOCdevkit/VOC2007/ImageSets/Main/trainval.txt", "000005")
    caffecompat.list_voc(folder, "lists")  # which holds VOCdevkit
    first = "VOCdevkit/VOC2007/JPEGImages/000005.jpg VOCdevkit/VOC2007/Annotations/000005.xml"
    assert lines_of("lists/trainval.txt")[0] == first
    assert len(lines_of("lists/trainval.txt")) == 6
    caffecompat.list_voc(year, "one")
    assert lines_of("one/val.txt")[0] == "JPEGImages/2008_000002.jpg Annotations/2008_000002.xml"


def test_other_classes_are_those_found(folder: Path) -> None:
    trees.voc_xml(trees.voc2012(folder) / "Annotations/2007_000002.xml", "crane")
    caffecompat.list_voc("VOCdevkit", "lists")
    names = read_label_map("lists/labelmap.prototxt").names
    assert names == {0: "none_of_the_above", 1: "crane", 2: "dog", 3: "person"}


def test_lists_make_a_database(folder: Path) -> None:
    trees.voc2012(folder)
    report = caffecompat.list_voc("VOCdevkit", "lists")
    done = caffecompat.convert_annoset(
        report.root_folder, "lists/train.txt", "db", anno_type="detection", label_map="lists/labelmap.prototxt"
    )
    assert (done.written, done.bad) == (3, {})
    [info] = caffecompat.inspect_database("db")
    assert dict(info.labels) == {12: 3, 15: 3}


def test_what_is_left_out_is_named(folder: Path) -> None:
    year = trees.voc2012(folder)
    (year / "JPEGImages/2008_000001.jpg").unlink()
    (year / "JPEGImages/2007_000002.jpg").write_bytes(b"")
    (year / "Annotations/2007_000001.xml").write_text("<annotation>")
    told: list[str] = []
    report = caffecompat.list_voc("VOCdevkit", "lists", on_skip=told.append)
    main = "VOCdevkit/VOC2012/ImageSets/Main"
    assert [why.replace("VOCdevkit/VOC2012/", "") for why in told if f"{main}/train.txt:" in why] == [
        "ImageSets/Main/train.txt:1: JPEGImages/2008_000001.jpg does not exist",
        "ImageSets/Main/train.txt:3: JPEGImages/2007_000002.jpg is empty",
        "ImageSets/Main/train.txt:2: Annotations/2007_000001.xml:1:13: this is not XML: no element found",
    ]
    assert told == report.skipped
    assert "lists/train.txt" not in report.lists and not Path("lists/train.txt").exists()
    Path("lists/train.txt").write_text("of an earlier run\n")
    Path("lists/notes.txt").write_text("mine\n")
    caffecompat.list_voc("VOCdevkit", "lists", force=True)
    assert not Path("lists/train.txt").exists()
    assert lines_of("lists/notes.txt") == ["mine"]
    assert lines_of("lists/trainval.txt") == [_voc("2007_000003"), _voc("2008_000002")]
