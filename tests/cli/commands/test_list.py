"""caffecompat list: what it prints, and how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffecompat.cli.main import main
from tests import data_set_trees as trees


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_counts_and_the_root_folder_are_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trees.cityscapes(folder)
    assert main(["list", "cityscapes", "cityscapes", "--out", "lists"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "lists/train.txt: 2 lines", "lists/val.txt: 1 line", "lists/classes.txt", "made 3 label files",
        'root_folder: "cityscapes/"',
    ]  # fmt: skip
    assert main(["list", "cityscapes", "cityscapes/", "--out=lists", "--force", "--norelative", "--labels", "x"]) == 0
    assert 'root_folder: ""' in capsys.readouterr().out
    assert Path("lists/val.txt").read_text().startswith(f"{folder}/cityscapes/leftImg8bit/val/")


def test_each_file_that_is_left_out_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    year = trees.voc2012(folder)
    (year / "JPEGImages/2008_000001.jpg").unlink()
    assert main(["list", "voc", "VOCdevkit", "--out", "lists"]) == 0
    said = capsys.readouterr()
    main_lists = "VOCdevkit/VOC2012/ImageSets/Main"
    for line in ("train.txt:1", "trainval.txt:4"):
        picture = "VOCdevkit/VOC2012/JPEGImages/2008_000001.jpg"
        assert f"left out: {main_lists}/{line}: {picture} does not exist" in said.err
    assert said.out.endswith("left out: 2 (see the log above)\n")


def test_mistakes_are_one_line_and_status_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trees.coco(folder)
    assert main(["list", "voc", "coco"]) == 2
    assert capsys.readouterr().err == (
        "error: coco is not laid out as Pascal VOC:\n"
        "  expected JPEGImages/, Annotations/ and ImageSets/Main/train.txt\n"
        "  or folders of years (VOC2007/, VOC2012/) that have these\n"
        "  found annotations/, train2017/, val2017/\n"
    )
    Path("train.txt").write_text("mine\n")
    assert main(["list", "coco", "coco"]) == 1
    assert "./train.txt: there already; choose another folder with --out, or say --force" in capsys.readouterr().err
    assert Path("train.txt").read_text() == "mine\n"
    with pytest.raises(SystemExit):
        main(["list", "sbd", "--help"])
    assert "caffecompat[sbd]" in capsys.readouterr().out
