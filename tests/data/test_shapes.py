from __future__ import annotations

from pathlib import Path

import numpy as np

from caffecompat.data.annotated_recipes import detection_plan, voc_set
from caffecompat.data.build import write_database
from caffecompat.data.inspection import Checks, inspect_records, verify_records
from caffecompat.data.recipes import ImageOptions
from caffecompat.data.shapes import SHAPES, draw_shapes, write_shapes
from caffecompat.formats.annotations import read_annotations
from caffecompat.formats.database import open_database
from caffecompat.formats.label_map import read_label_map


def test_the_same_numbers_draw_the_same_picture() -> None:
    one, other, another = (draw_shapes(3, number, 96, 64) for number in (5, 5, 6))
    np.testing.assert_array_equal(one[0], other[0])
    assert one[0].shape == (64, 96, 3) and one[1] == other[1]
    assert not np.array_equal(one[0], another[0])


def test_boxes_surround_something_visible() -> None:
    drawn = [draw_shapes(0, number, 96, 64) for number in range(60)]
    shapes = [(picture, shape) for picture, found in drawn for shape in found]
    assert {shape.name for _, shape in shapes} == set(SHAPES)
    assert 3 < sum(shape.difficult for _, shape in shapes) < len(shapes) / 3
    contrast = []
    for picture, shape in shapes:
        left, top, right, bottom = shape.box
        assert 0 <= left < right <= 96 and 0 <= top < bottom <= 64
        inside = picture[top:bottom, left:right].reshape(-1, 3)
        assert min(right - left, bottom - top) >= 4
        contrast.append(inside.std(0).max())
    assert np.mean(contrast) > 30


def test_a_written_set_is_pascal_vocs_and_becomes_a_database(tmp_path: Path) -> None:
    lists = write_shapes(tmp_path / "voc", {"train": 6, "test": 3}, seed=1, width=96, height=64)
    assert set(lists) == {"train", "test"}
    assert (tmp_path / "voc/ImageSets/Main/test.txt").read_text().split() == ["000006", "000007", "000008"]
    assert (tmp_path / "voc/test_name_size.txt").read_text().splitlines()[0] == "000006 64 96"
    label_map = read_label_map(tmp_path / "voc/labelmap.prototxt")
    assert [label_map.names[k] for k in range(4)] == ["none_of_the_above", *SHAPES]
    first = lists["train"].read_text().split()[1]
    found = read_annotations(tmp_path / "voc" / first, "xml", (64, 96), label_map.labels)
    expected = [shape.box for shape in draw_shapes(1, 0, 96, 64)[1]]
    np.testing.assert_allclose(found.objects[:, 2:6] * [96, 64, 96, 64], np.array(expected).reshape(-1, 4), atol=1e-4)
    assert not found.warnings
    report = write_database(tmp_path / "db", detection_plan(voc_set(tmp_path / "voc", "train"), ImageOptions()))
    assert report.written == 6
    with open_database(tmp_path / "db") as database:
        assert verify_records(database, Checks(classes=4)) == []
        info = inspect_records(database)
    assert info.annotated == 6 and info.boxes >= 6 and info.kinds == {"jpg": 6}
    assert (tmp_path / "db/labelmap.prototxt").read_text() == (tmp_path / "voc/labelmap.prototxt").read_text()
