from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from caffecompat.data.annotated_recipes import (
    annoset_plan,
    coco_set,
    detection_plan,
    is_voc_folder,
    listed_set,
    voc_set,
)
from caffecompat.data.build import BadRecord, BuildError, write_database
from caffecompat.data.inspection import Checks, verify_records
from caffecompat.data.recipes import ImageOptions
from caffecompat.data.split import split_database
from caffecompat.formats.annotated_datum import AnnotatedDatum, decode_annotated_datum, encode_annotated_datum
from caffecompat.formats.annotations import AnnotationError
from caffecompat.formats.database import open_database
from caffecompat.formats.datum import Datum
from caffecompat.formats.image_list import ListedImage, ListedPair
from tests.data.batches import picture, write_picture


def xml(*objects: tuple[str, int, int, int, int], size: tuple[int, int] = (20, 30)) -> str:
    """A VOC annotation; size is (height, width)."""
    things = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax>"
        "</bndbox></object>"
        for name, a, b, c, d in objects
    )
    return f"<annotation><size><height>{size[0]}</height><width>{size[1]}</width></size>{things}</annotation>"


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """A VOCdevkit with two years of one and two pictures."""
    for year, names in (("VOC2007", ["a"]), ("VOC2012", ["b", "c"])):
        root = tmp_path / "kit" / year
        for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
            (root / folder).mkdir(parents=True)
        for k, name in enumerate(names):
            write_picture(root / "JPEGImages" / f"{name}.png", picture(20, 30, seed=k))
            objects = [("dog", 3, 2, 15, 10)] if name != "c" else [("cat", 0, 0, 30, 20), ("dog", 3, 2, 15, 10)]
            (root / "Annotations" / f"{name}.xml").write_text(xml(*objects))
        (root / "ImageSets/Main/train.txt").write_text("".join(f"{name}\n" for name in names))
    return tmp_path / "kit"


def records(path: Path) -> dict[str, AnnotatedDatum]:
    with open_database(path) as database:
        return {key.decode(): decode_annotated_datum(value) for key, value in database}


class TestVoc:
    def test_both_years_in_one_database(self, voc: Path, tmp_path: Path) -> None:
        assert is_voc_folder(voc) and is_voc_folder(voc / "VOC2007") and not is_voc_folder(tmp_path)
        write_database(tmp_path / "db", detection_plan(voc_set(voc, "train"), ImageOptions()))
        found = records(tmp_path / "db")
        assert list(found) == [
            "00000000_VOC2007/JPEGImages/a.png",
            "00000001_VOC2012/JPEGImages/b.png",
            "00000002_VOC2012/JPEGImages/c.png",
        ]
        last = found["00000002_VOC2012/JPEGImages/c.png"]
        np.testing.assert_allclose(
            last.objects, np.array([[1, 0, 0, 0, 1, 1, 0], [2, 0, 0.1, 0.1, 0.5, 0.5, 0]], np.float32)
        )
        assert last.datum.encoded and bytes(last.datum.data or b"") == (voc / "VOC2012/JPEGImages/c.png").read_bytes()
        assert 'display_name: "cat"' in (tmp_path / "db/labelmap.prototxt").read_text()

    def test_one_year_and_a_label_map(self, voc: Path, tmp_path: Path) -> None:
        plan = detection_plan(voc_set(voc / "VOC2012", "train", {"cat": 8, "dog": 12}, "text"), ImageOptions())
        write_database(tmp_path / "db", plan)
        found = list(records(tmp_path / "db").values())
        assert [record.objects[:, 0].tolist() for record in found] == [[12], [8, 12]]
        assert (tmp_path / "db/labelmap.prototxt").read_text() == "text"

    def test_resized_records_keep_their_boxes(self, voc: Path, tmp_path: Path) -> None:
        plan = detection_plan(voc_set(voc, "train"), ImageOptions(height=10, width=12, encoding="raw"))
        write_database(tmp_path / "db", plan)
        first = next(iter(records(tmp_path / "db").values()))
        assert first.datum.shape == (3, 10, 12)
        np.testing.assert_allclose(first.objects[0, 2:6], [0.1, 0.1, 0.5, 0.5])

    def test_shuffled_and_continued(self, voc: Path, tmp_path: Path) -> None:
        found = voc_set(voc, "train").shuffled(1)
        assert sorted(found.paths) == sorted(voc_set(voc, "train").paths)
        write_database(tmp_path / "db", detection_plan(found, ImageOptions()))
        for key, record in records(tmp_path / "db").items():
            assert len(record.objects) == (2 if key.endswith("c.png") else 1)

    def test_mistakes(self, voc: Path, tmp_path: Path) -> None:
        with pytest.raises(BuildError, match=r"no list ImageSets/Main/val.txt; say which with --set: train"):
            voc_set(voc, "val")
        plan = detection_plan(voc_set(voc, "train", {"cat": 1}), ImageOptions())
        with pytest.raises(BadRecord, match=r"a.xml: Unknown name: dog is not in the label map"):
            plan.encode(0)
        (voc / "VOC2007/Annotations/a.xml").unlink()
        with pytest.raises(AnnotationError, match=r"cannot read the annotations .*a.xml"):
            voc_set(voc, "train")


class TestCoco:
    def content(self, folder: Path) -> Path:
        write_picture(folder / "x.png", picture(20, 30))
        content = {
            "images": [{"id": 5, "file_name": "x.png", "height": 20, "width": 30}],
            "annotations": [
                {"image_id": 5, "category_id": 13, "bbox": [3, 2, 12, 8]},
                {"image_id": 5, "category_id": 2, "bbox": [0, 0, 30, 20], "iscrowd": 1},
            ],
            "categories": [{"id": 13, "name": "stop sign"}, {"id": 2, "name": "bicycle"}, {"id": 1, "name": "person"}],
        }
        (folder / "instances.json").write_text(json.dumps(content))
        return folder / "instances.json"

    def test_categories_are_numbered_in_order(self, tmp_path: Path) -> None:
        found = coco_set(self.content(tmp_path), str(tmp_path))
        write_database(tmp_path / "db", detection_plan(found, ImageOptions()))
        (record,) = records(tmp_path / "db").values()
        want = [[3, 0, 0.1, 0.1, 0.5, 0.5, 0], [2, 0, 0, 0, 1, 1, 1]]
        np.testing.assert_allclose(record.objects, np.array(want, np.float32))
        label_map = (tmp_path / "db/labelmap.prototxt").read_text()
        assert 'name: "13"\n  label: 3\n  display_name: "stop sign"' in label_map

    @pytest.mark.parametrize("numbers", [{"13": 7, "2": 8}, {"stop sign": 7, "bicycle": 8}])
    def test_a_label_map_of_ids_or_names(self, tmp_path: Path, numbers: dict[str, int]) -> None:
        found = coco_set(self.content(tmp_path), str(tmp_path), numbers)
        assert found.objects(0, (20, 30)).objects[:, 0].tolist() == [7, 8]


def test_lists_of_annotation_files(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", picture(20, 30))
    (tmp_path / "a.xml").write_text(xml(("dog", 3, 2, 15, 10)))
    (tmp_path / "a.txt").write_text("4 3 2 15 10")
    (tmp_path / "list").write_text("a.png a.xml\na.png a.txt\na.png missing.xml\n")
    found = listed_set(tmp_path / "list", str(tmp_path), {"dog": 2})
    rows = [found.objects(index, (20, 30)) for index in range(3)]
    assert [row.objects[:, 0].tolist() for row in rows] == [[2], [4], []]
    assert "missing.xml: no boxes" in rows[2].warnings[0]
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(BadRecord, match=r"list:2: .*a.txt:1: expected 'label"):
        detection_plan(found, ImageOptions()).encode(1)


class TestAnnosetPlan:
    """convert_annoset's rules; its records are held against the original's in tests/cli."""

    def entry(self, folder: Path) -> list[ListedPair]:
        write_picture(folder / "a.png", picture(20, 30))
        (folder / "a.xml").write_text(xml(("dog", 3, 2, 15, 10)))
        return [ListedPair("a.png", "a.xml", 1)]

    def record(self, folder: Path, **options: Any) -> AnnotatedDatum:
        plan = annoset_plan(f"{folder}/", self.entry(folder), numbers={"dog": 2}, **options)
        return decode_annotated_datum(plan.encode(0)[0])

    @pytest.mark.parametrize(
        ("options", "shape"),
        [
            ({"min_dim": 30}, (3, 30, 45)),
            ({"max_dim": 24}, (3, 16, 24)),
            ({"min_dim": 10, "max_dim": 40}, (3, 20, 30)),
            ({"min_dim": 30, "max_dim": 36}, (3, 24, 36)),
            ({"min_dim": 30, "height": 5, "width": 5}, (3, 30, 45)),
            ({"height": 5, "width": 6, "color": False}, (1, 5, 6)),
            ({"height": 5}, (3, 20, 30)),
        ],
    )
    def test_sizes(self, tmp_path: Path, options: dict[str, Any], shape: tuple[int, int, int]) -> None:
        record = self.record(tmp_path, **options)
        assert record.datum.shape == shape and record.datum.label == -1 and record.datum.encoded is False
        np.testing.assert_allclose(record.objects[0, 2:6], [0.1, 0.1, 0.5, 0.5])

    def test_encoded_records_state_their_size(self, tmp_path: Path) -> None:
        for options in ({"encoded": True}, {"encode_type": "png"}):
            datum = self.record(tmp_path, **options).datum
            assert bytes(datum.data or b"") == (tmp_path / "a.png").read_bytes() and datum.shape == (3, 20, 30)
        datum = self.record(tmp_path, encode_type="jpg", max_dim=15).datum
        assert datum.shape == (3, 10, 15)
        assert cv2.imdecode(np.frombuffer(datum.data or b"", np.uint8), 1).shape == (10, 15, 3)

    def test_a_missing_annotation_is_an_empty_picture(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.entry(tmp_path)
        plan = annoset_plan(f"{tmp_path}/", [ListedPair("a.png", "b.xml", 1)], numbers={})
        record = decode_annotated_datum(plan.encode(0)[0])
        assert record.type == 0 and len(record.objects) == 0
        assert "b.xml: a.png gets no boxes" in capfd.readouterr().err

    def test_classification(self, tmp_path: Path) -> None:
        self.entry(tmp_path)
        record = decode_annotated_datum(annoset_plan(f"{tmp_path}/", [ListedImage("a.png", 6, 1)]).encode(0)[0])
        assert record.type is None and record.datum.label == 6

    def test_doubts_are_logged(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        entries = self.entry(tmp_path)
        (tmp_path / "a.xml").write_text(xml(("dog", 3, 2, 35, 10)))
        annoset_plan(f"{tmp_path}/", entries, numbers={"dog": 2}).encode(0)
        assert "a.xml: dog (3, 2, 35, 10) bounding box exceeds image boundary, 30x20" in capfd.readouterr().err

    def test_check_size_and_unknown_names(self, tmp_path: Path) -> None:
        entries = [*self.entry(tmp_path), ListedPair("b.png", "a.xml", 2)]
        write_picture(tmp_path / "b.png", picture(21, 30))
        plan = annoset_plan(f"{tmp_path}/", entries, numbers={"dog": 2}, check_size=True)
        plan.encode(0)
        with pytest.raises(BuildError, match=r"Incorrect data field size 1890: .*b.png"):
            plan.encode(1)
        with pytest.raises(AnnotationError, match="Unknown name: dog"):
            annoset_plan(f"{tmp_path}/", entries, numbers={"dot": 2}).encode(0)


def test_boxes_are_verified(tmp_path: Path) -> None:
    rows = [[1, 0, 0.1, 0.1, 0.5, 0.5, 0], [1, 0, 0.5, 0.1, 0.2, 0.5, 0], [1, 0, 0.1, 0.1, 1.2, 0.5, 0],
            [9, 0, 0.1, 0.1, 0.5, 0.5, 0]]  # fmt: skip
    with open_database(tmp_path / "db", "lmdb", "w") as database:
        for k, row in enumerate(rows):
            datum = Datum.from_array(np.zeros((3, 4 + k, 5), np.uint8))
            record = AnnotatedDatum(datum, np.array([row], np.float32))
            database.put([(b"%d" % k, encode_annotated_datum(record))])
    with open_database(tmp_path / "db") as found:
        problems = verify_records(found, Checks(classes=3))
    assert [problem.text.partition(")")[2] for problem in problems] == [
        ", which has no area",
        ", which leaves the picture",
        "; expected classes 1 to 2",
    ]


def test_splitting_keeps_the_label_map(voc: Path, tmp_path: Path) -> None:
    write_database(tmp_path / "db", detection_plan(voc_set(voc, "train"), ImageOptions()))
    split_database(tmp_path / "db", tmp_path / "one", tmp_path / "two", fraction=0.4)
    assert (tmp_path / "two/labelmap.prototxt").read_text() == (tmp_path / "db/labelmap.prototxt").read_text()
    assert len(records(tmp_path / "one")) == 2 and len(records(tmp_path / "two")) == 1
