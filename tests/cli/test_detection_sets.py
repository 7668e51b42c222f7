"""SSD's tools, and lmdb on detection data, as people type them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import pytest

from caffecompat.data.shapes import write_shapes
from caffecompat.formats.annotated_datum import decode_annotated_datum
from caffecompat.formats.database import open_database

RECORDED = {
    "db_anno_lmdb": ["-encode_type=png", "--encoded=true"],
    "db_anno_raw_lmdb": ["--resize_height=32", "-resize_width", "40"],
}


@pytest.fixture
def annotated(golden: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The recorded data as the current folder."""
    monkeypatch.chdir(golden / "annotated")
    return golden / "annotated"


class TestConvertAnnoset:
    @pytest.mark.parametrize("name", RECORDED)
    def test_the_recorded_databases(self, command, annotated: Path, tmp_path: Path, name: str) -> None:
        words = ["--anno_type=detection", "--label_type=xml", "--label_map_file=labelmap.prototxt", "--check_label"]
        result = command("convert_annoset", *words, *RECORDED[name], "./", "list.txt", tmp_path / "db")
        assert result.status == 0
        assert re.search(r"convert_annoset\.cpp:\d+\] A total of 6 images\.$", result.err, re.M)
        assert re.search(r"convert_annoset\.cpp:\d+\] Processed 6 files\.$", result.err, re.M)
        with open_database(tmp_path / "db") as made, open_database(annotated / name) as recorded:
            for (key, one), (recorded_key, other) in zip(made, recorded, strict=True):
                ours, theirs = decode_annotated_datum(one), decode_annotated_datum(other)
                assert key == recorded_key and (ours.objects == theirs.objects).all()
                assert (ours.datum.label, ours.datum.encoded, ours.datum.shape) == (
                    theirs.datum.label, theirs.datum.encoded, theirs.datum.shape
                )  # fmt: skip
                assert abs(ours.datum.image().astype(int) - theirs.datum.image()).max() <= 1
                if key.endswith(b"png"):  # decoded alike by every version of the JPEG library
                    assert one == other

    def test_missing_pictures_are_passed_over(self, command, annotated: Path, tmp_path: Path) -> None:
        lines = (annotated / "list.txt").read_text()
        (tmp_path / "list.txt").write_text("VOC/none.jpg VOC/none.xml\n" + lines)
        flags = ["--anno_type=detection", "--label_map_file=labelmap.prototxt"]
        result = command("convert_annoset", *flags, "./", tmp_path / "list.txt", tmp_path / "db")
        assert result.status == 0 and "Failed to read VOC/none.jpg" in result.err
        with open_database(tmp_path / "db") as database:
            assert next(iter(database.keys())).startswith(b"00000001_") and len(database) == 6

    def test_classification_is_the_default(self, command, annotated: Path, tmp_path: Path) -> None:
        (tmp_path / "list.txt").write_text("VOC/JPEGImages/000000.png 5\n")
        assert command("convert_annoset", "./", tmp_path / "list.txt", tmp_path / "db").status == 0
        with open_database(tmp_path / "db") as database:
            (record,) = (decode_annotated_datum(value) for _, value in database)
        assert record.type is None and record.datum.label == 5

    def test_mistakes(self, command, annotated: Path, tmp_path: Path) -> None:
        result = command("convert_annoset", "--anno_type=detection", "./", "list.txt", tmp_path / "db")
        assert result.status == 2 and "needs --label_map_file" in result.err
        (tmp_path / "map").write_text('item { name: "bird" label: 1 }')
        flags = ["--anno_type=detection", f"--label_map_file={tmp_path}/map"]
        result = command("convert_annoset", *flags, "./", "list.txt", tmp_path / "db")
        assert result.status == 2
        assert re.search(r"VOC/Annotations/\d+\.xml: Unknown name: \w+ is not in the label map", result.err)
        assert not (tmp_path / "db").exists()


class TestCreateLabelMap:
    def make(self, command, tmp_path: Path, text: str, *flags: str) -> str:
        (tmp_path / "names.txt").write_text(text)
        result = command("create_label_map", *flags, tmp_path / "names.txt", tmp_path / "map")
        return (tmp_path / "map").read_text() if result.status == 0 else result.err

    def test_names_only(self, command, tmp_path: Path) -> None:
        made = self.make(command, tmp_path, "cat\ndog\n", "--include_background=true")
        items = [("none_of_the_above", 0, "background"), ("cat", 1, "cat"), ("dog", 2, "dog")]
        want = "".join(f'item {{\n  name: "{n}"\n  label: {k}\n  display_name: "{d}"\n}}\n' for n, k, d in items)
        assert made == want
        assert self.make(command, tmp_path, "cat\n").splitlines()[2] == "  label: 0"

    def test_numbers_and_titles(self, command, tmp_path: Path) -> None:
        made = self.make(command, tmp_path, "1:7:traffic light\n3:9:stop sign\n", "-delimiter", ":")
        assert 'label: 7\n  display_name: "traffic light"' in made and 'name: "3"\n  label: 9' in made

    def test_mistakes(self, command, tmp_path: Path) -> None:
        assert "names.txt:2: expected 1 field(s)" in self.make(command, tmp_path, "cat\nblack dog\n")
        for label in ("x", "1.5", "nan", str(1 << 31), str(-(1 << 31) - 1), "9" * 5000):
            said = f"names.txt:1: the label '{label[:300]}"
            assert said in self.make(command, tmp_path, f"cat {label}\n")


class TestGetImageSize:
    def test_sizes_of_the_recorded_pictures(self, command, annotated: Path, tmp_path: Path) -> None:
        assert command("get_image_size", "./", "list.txt", tmp_path / "sizes").status == 0
        lines = [line.split() for line in (tmp_path / "sizes").read_text().splitlines()]
        assert lines[0] == ["000000", "45", "51"] and len(lines) == 6
        for name, height, width in lines:
            (path,) = (annotated / "VOC/JPEGImages").glob(name + ".*")
            assert cv2.imread(str(path)).shape[:2] == (int(height), int(width))

    def test_ids(self, command, annotated: Path, tmp_path: Path) -> None:
        (tmp_path / "ids").write_text("".join(f"00000{k} {k + 100}\n" for k in range(6)))
        command("get_image_size", f"--name_id_file={tmp_path}/ids", "./", "list.txt", tmp_path / "sizes")
        assert (tmp_path / "sizes").read_text().splitlines()[5] == "105 58 54"
        (tmp_path / "ids").write_text("000000 1\n")
        result = command("get_image_size", f"--name_id_file={tmp_path}/ids", "./", "list.txt", tmp_path / "none")
        assert result.status == 2 and "list.txt:2: 000001 is not in" in result.err

    def test_missing_picture(self, command, annotated: Path, tmp_path: Path) -> None:
        result = command("get_image_size", "elsewhere/", "list.txt", tmp_path / "sizes")
        assert result.status == 2 and "list.txt:1: cannot read elsewhere/VOC/JPEGImages/000000.png" in result.err


class TestLmdb:
    @pytest.fixture
    def voc(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        write_shapes(tmp_path / "voc", {"train": 5, "test": 2}, width=96, height=64)
        monkeypatch.chdir(tmp_path)
        return tmp_path

    def test_pascal_voc(self, command, voc: Path) -> None:
        result = command("lmdb", "build", "voc", "train", "--set", "train")
        assert result.status == 0 and result.out.startswith("train: 5 records")
        info = command("lmdb", "info", "train")
        assert re.search(r"boxes +\d+ in 5 records, 0 without; \d+ difficult", info.out) and "disc" in info.out
        numbers = json.loads(command("lmdb", "info", "train", "--json").out)
        assert numbers["annotated"] == 5 and sum(numbers["labels"].values()) == numbers["boxes"]
        assert command("lmdb", "verify", "train", "--classes", 4).out == "train: 5 records are sound\n"
        assert command("lmdb", "verify", "train", "--classes", 2).status == 1
        shown = command("lmdb", "show", "train", "--size", 96)
        assert re.search(r"jpg 3x64x96  \w+ \(0\.\d+,", shown.out)
        assert cv2.imread(str(voc / "train.png")) is not None

    def test_lists_and_label_maps(self, command, voc: Path) -> None:
        result = command("lmdb", "build", "voc/test.txt", "test", "--labelmap", "voc/labelmap.prototxt", "--shuffle")
        assert result.status == 0 and "taking the list's paths from voc" in result.err
        assert (voc / "test/labelmap.prototxt").read_text() == (voc / "voc/labelmap.prototxt").read_text()

    def test_coco(self, command, voc: Path) -> None:
        content = {
            "images": [{"id": 1, "file_name": "000000.jpg", "height": 64, "width": 96}],
            "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40]}],
            "categories": [{"id": 1, "name": "disc"}],
        }
        (voc / "c.json").write_text(json.dumps(content))
        assert command("lmdb", "build", "c.json", "coco", "--root", "voc/JPEGImages").status == 0
        assert "1 in 1 records" in command("lmdb", "info", "coco").out
        result = command("lmdb", "build", "c.json", "other")
        assert result.status == 2 and "1 of 1 files are missing" in result.err

    def test_mistakes(self, command, voc: Path) -> None:
        result = command("lmdb", "build", "voc", "out")
        assert (
            result.status == 2
            and "no list ImageSets/Main/trainval.txt; say which with --set: test, train" in result.err
        )
        (voc / "voc/Annotations/000001.xml").write_text("<annotation><object><name>disc</name></object></annotation>")
        result = command("lmdb", "build", "voc", "out", "--set", "train", "--labelmap", "voc/labelmap.prototxt")
        assert result.status == 2 and "1 of 5 records could not be made" in result.err
        assert "000001.xml: the object 'disc' has no bndbox" in result.err
        result = command("lmdb", "build", "voc", "out", "--set", "train", "--labelmap", "voc/labelmap.prototxt",
                         "--skip-bad")  # fmt: skip
        assert result.status == 0 and "4 records, 1 left out" in result.out
