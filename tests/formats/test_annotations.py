from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from caffecompat.formats.annotations import AnnotationError, class_names_of_xml, read_annotations, read_coco

NUMBERS = {"cat": 3, "dog": 5, "18": 7}


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def voc(objects: str, size: str = "<size><width>100</width><height>50</height></size>") -> str:
    return f"<annotation>{size}{objects}</annotation>"


def thing(name: str, box: str, more: str = "") -> str:
    corners = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box.split(), strict=True))
    return f"<object><name>{name}</name>{more}<bndbox>{corners}</bndbox></object>"


def test_voc(tmp_path: Path) -> None:
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    text = voc(thing("cat", "10 5 20 25") + thing("dog", "0 0 100 50", "<difficult>1</difficult>" + part)
               + thing("cat", "1.5 2 3 4"))  # fmt: skip
    found = read_annotations(write(tmp_path / "a.xml", text), "xml", (50, 100), NUMBERS)
    want = [[3, 0, 0.1, 0.1, 0.2, 0.5, 0], [5, 0, 0, 0, 1, 1, 1], [3, 1, 0.015, 0.04, 0.03, 0.08, 0]]
    np.testing.assert_allclose(found.objects, np.array(want, np.float32))
    assert not found.warnings
    assert class_names_of_xml(tmp_path / "a.xml") == {"cat", "dog"}


def test_the_files_own_size_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xml", voc(thing("cat", "10 5 20 25")))
    found = read_annotations(path, "xml", (500, 1000), NUMBERS)
    assert found.objects[0, 2] == np.float32(0.1)
    assert "says 100x50, the image is 1000x500" in found.warnings[0]
    without = write(tmp_path / "b.xml", voc(thing("cat", "10 5 20 25"), ""))
    assert read_annotations(without, "xml", (50, 1000), NUMBERS).objects[0, 2] == np.float32(0.01)


def test_doubtful_boxes_are_kept_and_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xml", voc(thing("cat", "-1 5 20 25") + thing("dog", "30 5 20 25")))
    found = read_annotations(path, "xml", (50, 100), NUMBERS)
    assert len(found.objects) == 2
    assert [warning.partition(") ")[2] for warning in found.warnings] == [
        "bounding box exceeds image boundary, 100x50",
        "bounding box irregular",
    ]


def test_json_of_one_picture(tmp_path: Path) -> None:
    content = {
        "image": {"height": 50, "width": 100},
        "annotation": [{"category_id": 18, "bbox": [10.0, 5.0, 10.0, 20.0], "iscrowd": 1}],
    }
    path = write(tmp_path / "a.json", json.dumps(content))
    found = read_annotations(path, "json", (50, 100), NUMBERS)
    np.testing.assert_allclose(found.objects, np.array([[7, 0, 0.1, 0.1, 0.2, 0.5, 1]], np.float32))


def test_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "4 10 5 20 25\n\n4 0 0 50 50 ignored\n")
    found = read_annotations(path, "txt", (50, 100), {})
    np.testing.assert_allclose(
        found.objects, np.array([[4, 0, 0.1, 0.1, 0.2, 0.5, 0], [4, 1, 0, 0, 0.5, 1, 0]], np.float32)
    )


def test_coco(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 9, "file_name": "b.jpg", "height": 50, "width": 100}, {"id": 4, "file_name": "a.jpg"}],
        "annotations": [{"image_id": 9, "category_id": 18, "bbox": [10, 5, 10, 20]}],
        "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}],
    }
    coco = read_coco(write(tmp_path / "c.json", json.dumps(content)))
    assert [picture.path for picture in coco.pictures] == ["b.jpg", "a.jpg"]
    assert coco.categories == {1: "person", 18: "dog"}
    found = coco.pictures[0].annotations("c.json", (50, 100), {"18": 2})
    np.testing.assert_allclose(found.objects, np.array([[2, 0, 0.1, 0.1, 0.2, 0.5, 0]], np.float32))


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("xml", voc(thing("cta", "1 2 3 4")), "Unknown name: cta is not in the label map; did you mean 'cat'?"),
        ("xml", voc("<object><name>cat</name></object>"), "the object 'cat' has no bndbox"),
        ("xml", voc("<object></object>"), "has no name|has no bndbox"),
        ("xml", voc(thing("cat", "1 2 three 4")), "<xmax>three</xmax> is not a number"),
        ("xml", "<annotation>\n<object>\n</annotation>", r"a.xml:3:3: this is not XML: mismatched tag"),
        ("xml", "<html/>", "expected <annotation> at the top, found <html>"),
        ("json", "[1,\n2", r"a.json:2:2: this is not JSON"),
        ("json", "{}", "expected .*annotation"),
        ("txt", "1 2 3 4 5\n1 2 x 4 5\n", r"a.txt:2: expected 'label xmin ymin xmax ymax', found '1 2 x 4 5'"),
    ],
)
def test_mistakes(tmp_path: Path, kind: str, text: str, message: str) -> None:
    path = write(tmp_path / f"a.{kind}", text)
    with pytest.raises(AnnotationError, match=message):
        read_annotations(path, kind, (50, 100), NUMBERS)


def test_no_file_and_no_coco(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"cannot read the annotations .*No such file"):
        read_annotations(tmp_path / "a.xml", "xml", (5, 5), {})
    with pytest.raises(AnnotationError, match="expected COCO instances"):
        read_coco(write(tmp_path / "c.json", '{"images": []}'))
    broken = '{"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 2}], "categories": []}'
    with pytest.raises(AnnotationError, match="an entry is not as COCO's are"):
        read_coco(write(tmp_path / "c.json", broken))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.xml", "<annotation><size><width>{}</width><height>9</height></size></annotation>"),
        (
            "a.json",
            '{{"image": {{"height": 9, "width": 9}}, "annotation": [{{"category_id": 1, "bbox": [1, 1, {}, 2]}}]}}',
        ),
        ("a.txt", "1 1 1 {} 2\n"),
    ],
)
@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e39", "1e400", "9" * 5000])
def test_numbers_that_are_none_are_refused(tmp_path, name, text, number):
    if name.endswith(".json"):
        number = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(number, number)
    (tmp_path / name).write_text(text.format(number))
    with pytest.raises(AnnotationError, match=name):
        read_annotations(tmp_path / name, name[2:], (9, 9), {"1": 1})


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, '{"images": NaN}', '"\\ud800"'])
def test_json_that_no_program_writes_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    for read in (lambda path: read_annotations(path, "json", (9, 9), {}), read_coco):
        with pytest.raises(AnnotationError, match=r"a\.json"):
            read(tmp_path / "a.json")
