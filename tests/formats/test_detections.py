"""Result files of detectors: what is written comes back, and what is none is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffecompat.formats.detections import (
    Detection,
    DetectionFileError,
    read_detections,
    read_name_sizes,
    write_detections,
)

FOUND = [
    Detection("000012", "dog", 0.91234567, (10.129, 20.0, 50.55, 60.999)),
    Detection("b", "cat", 0.5, (0.0, 0.0, 1.0, 1.0)),
]
NUMBERS = {"none": 0, "cat": 1, "dog": 2}


def test_voc(tmp_path: Path) -> None:
    paths = write_detections(str(tmp_path), "res_", "VOC", FOUND, NUMBERS)
    assert [Path(path).name for path in paths] == ["res_cat.txt", "res_dog.txt"]
    assert (tmp_path / "res_dog.txt").read_text() == "000012 0.912346 10 20 50 61\n"
    back = read_detections(str(tmp_path))
    assert [(d.image, d.label) for d in back] == [("b", "res_cat"), ("000012", "res_dog")]
    assert read_detections(paths[0], "VOC") == back[:1]


def test_coco(tmp_path: Path) -> None:
    (path,) = write_detections(str(tmp_path), "found", "COCO", FOUND, NUMBERS)
    back = read_detections(path)
    assert [(d.image, d.label, d.score) for d in back] == [("12", "dog", 0.91234567), ("b", "cat", 0.5)]
    assert back[0].box == pytest.approx((10.13, 20, 50.55, 61), abs=1e-9)


def test_ilsvrc(tmp_path: Path) -> None:
    (path,) = write_detections(str(tmp_path), "found", "ILSVRC", FOUND, NUMBERS)
    back = read_detections(path)
    assert [(d.image, d.label, d.box) for d in back] == [("000012", "2", (10, 20, 50, 61)), ("b", "1", (0, 0, 1, 1))]


def test_nothing_found_is_still_a_file(tmp_path: Path) -> None:
    (path,) = write_detections(str(tmp_path), "none", "COCO", [], NUMBERS)
    assert read_detections(path) == []


def test_names_may_hold_blanks(tmp_path: Path) -> None:
    (tmp_path / "sizes").write_text("my cat 10 20\n\nb 1 2\n")
    assert read_name_sizes(str(tmp_path / "sizes")) == [("my cat", 10, 20), ("b", 1, 2)]


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("a.json", "[{", "is not JSON"),
        ("a.json", "{}", "expected a list of detections"),
        ("a.json", '[{"image_id": 1, "category_id": 1, "score": 1, "bbox": [1, 2, 3]}]', "entry 0 lacks"),
        ("a.txt", "x 0.5 1 2 3\n", "a.txt:1: expected 'name score"),
        ("a.txt", "x 0.5 1 2 3 4\nx a 1 2 3 4\n", "a.txt:2: not a number"),
    ],
)
def test_what_is_no_result(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DetectionFileError, match=complaint):
        read_detections(str(tmp_path / name))


def test_what_is_no_file_of_sizes(tmp_path: Path) -> None:
    with pytest.raises(DetectionFileError, match=r"holds no \.txt files"):
        read_detections(str(tmp_path))
    (tmp_path / "sizes").write_text("\n")
    with pytest.raises(DetectionFileError, match="is empty"):
        read_name_sizes(str(tmp_path / "sizes"))
    with pytest.raises(DetectionFileError, match=r"name_size_file: .*there is no such file"):
        read_name_sizes("nowhere")


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", "a/b", "..\\escaped", "nul\0", "line\nend"])
def test_names_of_classes_stay_in_the_folder(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(DetectionFileError, match="is no file name; rename that class"):
        write_detections(str(out), "", "VOC", [], {"bg": 0, "car": 1, name: 2})
    with pytest.raises(DetectionFileError, match="is no file name"):
        write_detections(str(out), f"{name}_", "COCO", [], {"bg": 0, "car": 1})
    assert not any(out.iterdir()) and not any(tmp_path.glob("escaped*"))
