"""Lists and label pictures of SBD."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import caffecompat
from caffecompat.errors import CaffeCompatError
from tests import data_set_trees as trees
from tests.data.lists.reading import labels_of, lines_of


@pytest.fixture(autouse=True)
def scipy() -> None:
    pytest.importorskip("scipy")


def test_lists_and_labels(folder: Path) -> None:
    trees.sbd(folder)
    report = caffecompat.list_sbd("benchmark_RELEASE", "lists")
    assert report.lists == {"lists/train.txt": 2, "lists/val.txt": 2}
    line = "dataset/img/{0}.jpg dataset/cls_png/{0}.png"
    assert lines_of("lists/train.txt") == [line.format("2008_000002"), line.format("2007_000003")]
    labels = labels_of("benchmark_RELEASE/dataset/cls_png/2007_000003.png")
    assert labels[0].tolist() == [0] * 8 and (labels[1:] == 8).all() and labels.shape == (6, 8)


def test_trainaug_is_both_without_vocs_val(folder: Path) -> None:
    """The rule that gives 10,582 pictures of the real sets."""
    trees.sbd(folder)
    trees.voc2012(folder)
    report = caffecompat.list_sbd(".", "lists")  # the folder that holds both
    of_voc, of_sbd = "VOCdevkit/VOC2012/SegmentationClassRaw", "benchmark_RELEASE/dataset/cls_png"
    labels = {
        "2007_000001": of_voc,  # in both: VOC's own labels
        "2007_000002": of_voc,
        "2008_000001": of_sbd,
        "2008_000002": of_sbd,  # 2007_000003 is of VOC's val
    }
    expected = [f"VOCdevkit/VOC2012/JPEGImages/{key}.jpg {place}/{key}.png" for key, place in labels.items()]
    assert lines_of("lists/trainaug.txt") == expected
    assert (report.root_folder, report.skipped) == ("./", [])
    for line in expected:
        assert all(Path(word).is_file() for word in line.split())


def test_pictures_that_voc_lacks_are_sbds(folder: Path) -> None:
    trees.sbd(folder)
    (trees.voc2012(folder) / "JPEGImages/2008_000001.jpg").unlink()
    caffecompat.list_sbd("benchmark_RELEASE", "lists", voc="VOCdevkit")
    assert lines_of("lists/trainaug.txt")[2].startswith("benchmark_RELEASE/dataset/img/2008_000001.jpg ")


def test_damaged_classes_are_left_out(folder: Path) -> None:
    from scipy.io import savemat

    base = trees.sbd(folder)
    (base / "cls/2008_000002.mat").write_bytes(b"MATLAB 5.0 MAT-file" + b"\0" * 300)
    savemat(base / "cls/2008_000001.mat", {"GTinst": 1})
    report = caffecompat.list_sbd(base, "lists")
    assert report.lists == {"lists/train.txt": 1, "lists/val.txt": 1}
    assert "2008_000002.mat is not a .mat file, or damaged" in report.skipped[0]
    assert "2008_000001.mat has no variable GTcls" in report.skipped[1]


def test_without_scipy_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trees.sbd(folder)
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(CaffeCompatError, match=r"scipy, which is not installed: pip install 'caffecompat\[sbd\]'"):
        caffecompat.list_sbd("benchmark_RELEASE", "lists")
    assert not Path("lists").exists() and not Path("benchmark_RELEASE/dataset/cls_png").exists()
