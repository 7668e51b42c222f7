"""Lists and annotations of COCO."""

from __future__ import annotations

import json
from pathlib import Path

import caffecompat
from caffecompat.data.lists import coco
from caffecompat.formats.annotations import read_annotations, read_coco
from caffecompat.formats.label_map import read_label_map
from tests import data_set_trees as trees
from tests.data.lists.reading import lines_of


def test_lists_and_annotations(folder: Path) -> None:
    trees.coco(folder)
    report = caffecompat.list_coco("coco", "lists")
    assert (report.lists, report.made) == ({"lists/train.txt": 2, "lists/val.txt": 1}, 3)
    line = "train2017/{0}.jpg annotations/train2017/{0}.json"
    assert lines_of("lists/train.txt") == [line.format(f"{number:012}") for number in (7, 2)]
    written = json.loads(Path("coco/annotations/train2017/000000000002.json").read_text())
    assert written["image"] == {"id": 2, "file_name": "000000000002.jpg", "height": 6, "width": 8}
    assert written["annotation"][0] == {
        "id": 1,
        "category_id": 1,
        "bbox": [1.5, 1, 4.25, 3],
        "iscrowd": 0,
        "area": 12.75,
    }
    assert json.loads(Path("coco/annotations/train2017/000000000007.json").read_text())["annotation"] == []


def test_the_80_ids_become_1_to_80(folder: Path) -> None:
    trees.coco(folder)
    caffecompat.list_coco("coco", "lists")
    labels = read_label_map("lists/labelmap.prototxt")
    numbers = {name: number for number, name in labels.names.items()}
    assert len(numbers) == 81
    assert [numbers[str(key)] for key in (1, 3, 11, 13, 90)] == [1, 3, 11, 12, 80]
    assert (labels.display[12], labels.display[80]) == ("stop sign", "toothbrush")
    assert not {"12", "26", "29", "30", "45", "66", "68", "69", "71", "83"} & numbers.keys()
    assert len(coco._CATEGORIES) == 80 and max(coco._CATEGORIES) == 90


def test_the_annotations_are_those_of_the_instances(folder: Path) -> None:
    base = trees.coco(folder)
    caffecompat.list_coco("coco", "lists")
    numbers = {name: number for number, name in read_label_map("lists/labelmap.prototxt").names.items()}
    whole = read_coco(base / "annotations/instances_val2017.json").pictures[0]
    one = read_annotations(base / "annotations/val2017/000000000003.json", "json", (6, 8), numbers)
    assert (one.objects == whole.annotations("", (6, 8), numbers).objects).all() and len(one.objects) == 4
    report = caffecompat.convert_annoset(
        "coco/", "lists/train.txt", "db", anno_type="detection", label_type="json",
        label_map="lists/labelmap.prototxt",
    )  # fmt: skip
    assert (report.written, report.bad) == (2, {})
    [info] = caffecompat.inspect_database("db")
    assert (dict(info.labels), info.difficult) == ({1: 1, 3: 1, 12: 1, 80: 1}, 1)


def test_other_categories_are_numbered_by_id(folder: Path) -> None:
    trees.coco(folder, {7: "bolt", 2: "nut"})
    caffecompat.list_coco("coco", "lists")
    labels = read_label_map("lists/labelmap.prototxt")
    assert (labels.names, labels.display[2]) == ({0: "none_of_the_above", 1: "2", 2: "7"}, "bolt")


def test_pictures_may_lie_in_images(folder: Path) -> None:
    base = trees.coco(folder)
    (base / "images").mkdir()
    (base / "val2017").rename(base / "images/val2017")
    (base / "train2017").rename(base / "elsewhere")
    report = caffecompat.list_coco("coco", "lists")
    assert lines_of("lists/val.txt") == ["images/val2017/000000000003.jpg annotations/val2017/000000000003.json"]
    assert report.skipped == [
        "coco/annotations/instances_train2017.json: there is no folder coco/train2017 or coco/images/train2017 "
        "with its pictures"
    ]


def test_two_years_have_lists_of_their_own(folder: Path) -> None:
    base = trees.coco(folder)
    trees.picture(base / "val2014/000000000003.jpg")
    (base / "annotations/instances_val2014.json").write_bytes(
        (base / "annotations/instances_val2017.json").read_bytes()
    )
    assert list(caffecompat.list_coco("coco", "lists").lists) == [
        "lists/train.txt", "lists/val2014.txt", "lists/val2017.txt",
    ]  # fmt: skip


def test_names_that_lead_out_are_left_out(folder: Path) -> None:
    base = trees.coco(folder)
    path = base / "annotations/instances_val2017.json"
    content = json.loads(path.read_text())
    content["images"].append({"id": 9, "file_name": "../../outside.jpg"})
    content["images"].append({"id": 10, "file_name": "gone.jpg"})
    path.write_text(json.dumps(content))
    skipped = caffecompat.list_coco("coco", "lists").skipped
    assert "'../../outside.jpg' leads out of the folder" in skipped[0]
    assert skipped[1:] == ["coco/val2017/gone.jpg does not exist"]
