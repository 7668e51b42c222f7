from __future__ import annotations

from pathlib import Path

import pytest

from caffecompat.formats.label_map import LabelMapError, read_class_numbers, read_label_map
from caffecompat.schema import PrototxtError


def test_real_label_maps(shared: Path) -> None:
    folder = shared / "real" / "ssd-labelmaps"
    voc = read_label_map(folder / "VOC0712" / "labelmap_voc.prototxt")
    assert len(voc.names) == 21 and voc.names[15] == "person" and voc.labels["dog"] == 12
    coco = read_class_numbers(folder / "coco" / "labelmap_coco.prototxt")
    assert coco["13"] == 12 and len(coco) == 81
    for name in ("clsloc", "det"):
        assert read_label_map(folder / "ILSVRC2016" / f"labelmap_ilsvrc_{name}.prototxt").display[0] == "background"


def test_several_names_may_share_a_number(tmp_path: Path) -> None:
    path = tmp_path / "map"
    path.write_text('item { name: "car" label: 1 } item { name: "van" label: 1 } item { name: "car" label: 2 }')
    assert read_class_numbers(path) == {"car": 2, "van": 1}
    with pytest.raises(LabelMapError, match="duplicates of name: car"):
        read_class_numbers(path, unique=True)
    with pytest.raises(LabelMapError, match="given twice"):
        read_label_map(path)


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(LabelMapError, match=r"cannot read the label map .*No such file"):
        read_class_numbers(tmp_path / "none")
    path = tmp_path / "map"
    path.write_text('item { nmae: "car" }')
    with pytest.raises(PrototxtError, match=r"map:1:8.*name"):
        read_class_numbers(path)
    path.write_text("# nothing")
    with pytest.raises(LabelMapError, match="has no classes"):
        read_class_numbers(path)
